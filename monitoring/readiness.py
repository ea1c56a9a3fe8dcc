"""Does the service do its work? Each check says what it found, and what mends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from database import Database, DatabaseUnavailable, SchemaMismatch
from monitoring.delivery_health import judge
from settings import Settings


class Check(NamedTuple):
    """What was looked at, whether it is right, what was seen, and what to do if it is wrong."""

    name: str
    ok: bool
    found: str
    remedy: str


def ready(checks: list[Check]) -> bool:
    """Whether all is right."""
    return all(check.ok for check in checks)


def check_all(database: Database, settings: Settings) -> list[Check]:
    """Every check, of a database that answers and has the right tables. Raises DatabaseUnavailable."""
    database.health.prove_writable()
    return [
        Check("database", True, "it answers, and can be written", ""),
        Check("schema", True, "the schema is current", ""),
        *check_sending(database, settings, int(time.time())),
    ]


def check_sending(database: Database, settings: Settings, now: int) -> list[Check]:
    """Whether mail goes out: that sweeps look, that nothing is overdue, and that nothing stands still."""
    found = judge(database, settings.scheduler, now)
    return [Check(finding.subject, finding.level == "ok", finding.text, finding.remedy) for finding in found]


def check_unavailable(error: DatabaseUnavailable) -> list[Check]:
    """The one check that failed before all others."""
    name = "schema" if isinstance(error, SchemaMismatch) else "database"
    return [Check(name, False, error.reason, error.remedy)]


def checker(settings: Settings) -> Callable[[Database], list[Check]]:
    """`check_all` with these settings."""
    return lambda database: check_all(database, settings)
