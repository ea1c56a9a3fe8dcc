"""A long-running sender, which sweeps whenever something is due and survives a temporary loss of the database."""

from __future__ import annotations

import time
from collections.abc import Callable

from database import Database, DatabaseMissing, DatabaseUnavailable, SchemaMismatch
from sender.shutdown import StopRequest
from sender.task_log import TaskLog
from sender.watch_loop import RETRY_SECONDS, watch


class Watcher:
    """Runs `sweep` whenever something is due. `sweep` returns whether it could send."""

    def __init__(self, sweep: Callable[[], bool], database: Database, tasklog: TaskLog, stop: StopRequest) -> None:
        self._could_send = sweep
        self._database = database
        self._tasklog = tasklog
        self._stop = stop

    def run(self) -> None:
        """Run until a stop is requested. Raises DatabaseMissing and SchemaMismatch, which waiting cannot fix."""
        watch(self._sweep, self._next_work_at, self._stop, self._wait_for_notify)

    def _sweep(self) -> bool:
        try:
            return self._could_send()
        except (DatabaseMissing, SchemaMismatch):
            raise
        except DatabaseUnavailable as error:
            self._tasklog.error(str(error))
            return self._wait_for_database()

    def _wait_for_database(self) -> bool:
        """Wait for an unavailable database. Return False at once if it is available, so that the next sweep waits."""
        if self._answers():
            return False
        self._stop.wait(RETRY_SECONDS, self._answers)
        return True

    def _answers(self, after: float = 0) -> bool:
        time.sleep(after)
        try:
            self._database.last_heartbeat_at()
        except DatabaseUnavailable:
            return False
        return True

    def _next_work_at(self) -> int | None:
        """Return when there is work again, or None if that is unknown, so that the next check comes soon."""
        try:
            return self._database.next_work_at()
        except DatabaseMissing:
            raise
        except DatabaseUnavailable:
            return None

    def _wait_for_notify(self, seconds: float) -> bool:
        try:
            return self._database.wait_for_notify(seconds)
        except DatabaseUnavailable:
            time.sleep(seconds)  # the next sweep reports the error
            return False
