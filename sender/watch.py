"""A sender that stays: it sweeps whenever something is due, and outlives a database that is away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from database import Database, DatabaseMissing, DatabaseUnavailable, SchemaMismatch
from sender.shutdown import Stop
from sender.task_log import TaskLog
from sender.watch_loop import REST, watch


class Watcher:
    """Runs `sweep`, which tells whether it could send, until a stop is requested."""

    def __init__(self, sweep: Callable[[], bool], database: Database, tasklog: TaskLog, stop: Stop) -> None:
        self._could_send = sweep
        self._database = database
        self._tasklog = tasklog
        self._stop = stop

    def run(self) -> None:
        """Sweep whenever something is due, until a stop is requested."""
        watch(self._sweep, self._next_work_at, self._stop, self._wait_for_notify)

    def _sweep(self) -> bool:
        try:
            return self._could_send()
        except (DatabaseMissing, SchemaMismatch):
            raise
        except DatabaseUnavailable as error:
            self._tasklog.error(str(error))
            return self._came_back()

    def _came_back(self) -> bool:
        """Wait for a database that is away, and let it be looked at once more; False where it answers all the time."""
        if self._answers():
            return False
        self._stop.wait(REST, self._answers)
        return True

    def _answers(self, after: float = 0) -> bool:
        time.sleep(after)
        try:
            self._database.last_heartbeat_at()
        except DatabaseUnavailable:
            return False
        return True

    def _next_work_at(self) -> int | None:
        """When there is work; one who does not know it looks again soon."""
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
            time.sleep(seconds)  # the next sweep says so
            return False
