"""Remember in the database which addresses of the mail server did not respond, for later sweeps."""

from __future__ import annotations

import time
from collections.abc import Collection

from database import Database
from sender.shutdown import StopRequest
from sender.task_log import TaskLog
from sender.work_queue import retry_while_busy


class DatabaseAddressMemory:
    """An `AddressMemory` shared by all senders of a database. Logs each address that it records."""

    def __init__(self, database: Database, tasklog: TaskLog, stop: StopRequest) -> None:
        self._addresses = database.unreachable_addresses
        self._tasklog = tasklog
        self._stop = stop

    def unreachable(self) -> Collection[str]:
        """Return the addresses to try last."""
        return retry_while_busy(self._stop, self._addresses.all, int(time.time()))

    def record_unreachable(self, addresses: Collection[str], host: str) -> None:
        """Remember these addresses of `host` for a day."""
        retry_while_busy(self._stop, self._addresses.add, addresses, int(time.time()))
        for address in addresses:
            self._tasklog.warning(f"{address} does not respond; for a day, other addresses of {host} are tried first")
