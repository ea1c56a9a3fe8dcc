"""Does the service do its work? The findings behind GET /readyz, each with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from database import Database, DatabaseUnavailable, SchemaMismatch
from monitoring.delivery_health import check_delivery_health
from monitoring.finding import Finding, error, ok
from settings import Settings


def is_ready(findings: list[Finding]) -> bool:
    """Return whether every finding is ok; a warning is not."""
    return all(finding.is_ok for finding in findings)


def readiness(database: Database, settings: Settings) -> list[Finding]:
    """Check a database that answers and has the right tables, and whether mail goes out. Raises DatabaseUnavailable."""
    database.health.prove_writable()
    return [
        ok("database", "it answers, and can be written"),
        ok("schema", "the schema is current"),
        *check_delivery_health(database, settings.scheduler, datetime.now(UTC)),
    ]


def unavailable(failure: DatabaseUnavailable) -> list[Finding]:
    """Return the one finding that takes the place of all others when the database cannot be used."""
    return [error("schema" if isinstance(failure, SchemaMismatch) else "database", failure.reason, failure.remedy)]


def readiness_check(settings: Settings) -> Callable[[Database], list[Finding]]:
    """Return `readiness` with these settings."""
    return lambda database: readiness(database, settings)
