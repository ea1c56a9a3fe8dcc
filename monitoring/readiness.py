"""Decide whether the service is ready: the findings behind GET /readyz, each with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from database import Database, DatabaseUnavailable, SchemaMismatch
from monitoring.delivery_health import check_delivery_health
from monitoring.finding import Finding, error, ok
from settings import Settings


def is_ready(findings: list[Finding]) -> bool:
    """Return whether every finding is ok. A warning counts as not ready."""
    return all(finding.is_ok for finding in findings)


def readiness(database: Database, settings: Settings) -> list[Finding]:
    """Check that the database is writable and that mail is going out. Raises DatabaseUnavailable."""
    database.health.prove_writable()
    return [
        ok("database", "reachable and writable"),
        ok("schema", "up to date"),
        *check_delivery_health(database, settings.scheduler, datetime.now(UTC)),
    ]


def unavailable(failure: DatabaseUnavailable) -> list[Finding]:
    """Return the only finding while the database cannot be used."""
    return [error("schema" if isinstance(failure, SchemaMismatch) else "database", failure.reason, failure.remedy)]


def readiness_check(settings: Settings) -> Callable[[Database], list[Finding]]:
    """Return `readiness` with these settings."""
    return lambda database: readiness(database, settings)
