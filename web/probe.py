"""A look at the database for a probe: bounded in time and in number, however many ask and however long it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Generic, TypeVar

from database import Database, DatabaseUnavailable
from settings import Settings
from web.context import Databases

PATIENCE = 7.0  # seconds: longer than a writer is waited for
FRESH = 1.0  # seconds for which an answer is given again

T = TypeVar("T")


class Probe(Generic[T]):
    """Looks by `look`, on a connection of its own, which is made anew after any error."""

    def __init__(self, settings: Settings, look: Callable[[Database], T], fresh: float = FRESH) -> None:
        databases = Databases(settings, SimpleNamespace())
        self._look = lambda: databases.act(lambda database: _looked(database, look))
        self._fresh = fresh
        self._lock = threading.Lock()
        self._latest: _Looking[T] | None = None

    def answer(self) -> T:
        """What the look saw, at most a second ago. Raises DatabaseUnavailable."""
        with self._lock:
            latest = self._latest
            if latest is None or latest.ended_at + self._fresh <= time.monotonic():
                latest = self._latest = _Looking(self._look)
        return latest.result()


class _Looking(Generic[T]):
    """One look, in a thread that nobody has to wait for: a server that is frozen answers nothing for hours."""

    def __init__(self, look: Callable[[], T]) -> None:
        self.ended_at = float("inf")
        self._give_up_at = time.monotonic() + PATIENCE
        self._found: T | Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(look,), daemon=True)
        self._thread.start()

    def result(self) -> T:
        """What it saw, once it has; what it raised."""
        self._thread.join(max(self._give_up_at - time.monotonic(), 0))
        if self._found is None:
            reason = f"the database has not answered for {PATIENCE:.0f} seconds"
            raise DatabaseUnavailable(reason, "is its server, or its disk, frozen or overloaded?")
        if isinstance(self._found, Exception):
            raise self._found
        return self._found

    def _run(self, look: Callable[[], T]) -> None:
        try:
            self._found = look()
        except Exception as error:  # noqa: BLE001 - raised where it is asked for
            self._found = error
        finally:
            self.ended_at = time.monotonic()


def _looked(database: Database, look: Callable[[Database], T]) -> T:
    """What `look` sees, if the tables are still of this version."""
    database.health.check_tables()
    return look(database)
