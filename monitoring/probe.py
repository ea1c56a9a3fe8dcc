"""Check the database for a probe, one check at a time and within a time limit, however many clients ask."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import TypeVar

from database import Database, Databases, DatabaseUnavailable
from monitoring.cached import CachedCheck, CheckTimeout
from settings import Settings

PROBE_TIMEOUT = 7.0  # seconds: longer than a write waits for another writer
CACHE_TTL = 1.0  # seconds

T = TypeVar("T")


class Probe(CachedCheck[T]):
    """Runs `check` on its own connection, which is reopened after any error."""

    def __init__(self, settings: Settings, check: Callable[[Database], T], ttl: float = CACHE_TTL) -> None:
        databases = Databases(settings, SimpleNamespace())
        super().__init__(lambda: databases.act(lambda database: _checked(database, check)), ttl)

    def answer(self) -> T:
        """Return a result that is at most `ttl` seconds old.

        Raises DatabaseUnavailable, including when there is no result within PROBE_TIMEOUT.
        """
        try:
            return self.get(PROBE_TIMEOUT)
        except CheckTimeout:
            reason = f"the database has not responded for {PROBE_TIMEOUT:.0f} seconds"
            raise DatabaseUnavailable(reason, "check its server and disk") from None


def _checked(database: Database, check: Callable[[Database], T]) -> T:
    database.health.check_tables()  # raises SchemaMismatch if the database was upgraded or replaced
    return check(database)
