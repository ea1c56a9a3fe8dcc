"""A long-running sender: it sweeps whenever something is due, and survives a database that is away for a while."""

from __future__ import annotations

import time
from collections.abc import Callable

from database import Database, DatabaseMissing, DatabaseUnavailable, SchemaMismatch
from sender.shutdown import StopRequest
from sender.task_log import TaskLog
from sender.watch_loop import RETRY_SECONDS, watch


class Watcher:
    """Runs `sweep`, which returns whether it could send, until a stop is requested."""

    def __init__(self, sweep: Callable[[], bool], database: Database, tasklog: TaskLog, stop: StopRequest) -> None:
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
            return self._wait_for_database()

    def _wait_for_database(self) -> bool:
        """Wait for a database that is away; return False at once if it answers, so that the next sweep comes later."""
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
        """Return when there is work again; None if that is not known, so that the next check comes soon."""
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
            time.sleep(seconds)  # the next sweep reports it
            return False
