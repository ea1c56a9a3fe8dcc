"""A look at the database for a probe: bounded in time and in number, however many ask and however long it takes."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeVar

from database import Database, Databases, DatabaseUnavailable
from monitoring.cached import Look, StillLooking
from settings import Settings

PATIENCE = 7.0  # seconds: longer than a writer is waited for
FRESH = 1.0  # seconds for which an answer is given again

T = TypeVar("T")


class Probe(Look[T]):
    """Looks by `look`, on a connection of its own, which is made anew after any error."""

    def __init__(self, settings: Settings, look: Callable[[Database], T], fresh: float = FRESH) -> None:
        databases = Databases(settings, SimpleNamespace())
        super().__init__(lambda: databases.act(lambda database: _looked(database, look)), fresh)

    def answer(self) -> T:
        """What the look saw, at most a second ago. Raises DatabaseUnavailable."""
        try:
            return self.see(PATIENCE)
        except StillLooking:
            reason = f"the database has not answered for {PATIENCE:.0f} seconds"
            raise DatabaseUnavailable(reason, "is its server, or its disk, frozen or overloaded?") from None


def _looked(database: Database, look: Callable[[Database], T]) -> T:
    """What `look` sees, if the tables are still of this version."""
    database.health.check_tables()
    return look(database)
