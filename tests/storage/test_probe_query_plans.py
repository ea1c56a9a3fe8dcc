"""The probes cost the same for any number of rows: every query uses an index."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from database import Database
from monitoring.metrics import collect
from monitoring.readiness import readiness
from settings import Settings
from storage.sqlite.connection import SQLiteConnection
from tests.support.installation import Installation

# One row for each sender, each hour, each reply code, each counter, each status.
SMALL = {"senders", "sender_errors", "hourly_stats", "deferrals", "counters", "status_counts", "meta"}


class Noting:
    """Wraps a connection, and records its statements."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.asked: list[tuple[str, dict[str, object]]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def fetch_all(self, sql: str, **values: object) -> Any:
        self.asked.append((sql, values))
        return self.real.fetch_all(sql, **values)

    def fetch_one(self, sql: str, **values: object) -> Any:
        self.asked.append((sql, values))
        return self.real.fetch_one(sql, **values)

    def execute(self, sql: str, **values: object) -> Any:
        self.asked.append((sql, values))
        return self.real.execute(sql, **values)


def asked(connection: Any, act: Callable[[Database], object]) -> list[tuple[str, dict[str, object]]]:
    noting = Noting(connection)
    act(Database(noting))
    return noting.asked


def scanned(connection: Any, sql: str, values: dict[str, object]) -> set[str]:
    """Return the tables that this statement scans."""
    if isinstance(connection, SQLiteConnection):
        details = [str(row[3]) for row in connection.fetch_all(f"EXPLAIN QUERY PLAN {sql}", **values)]
        scans = [detail.split()[1] for detail in details if detail.startswith("SCAN") and "CONSTANT" not in detail]
        return set(scans) - {"e", "overdue"}  # subqueries of at most a bounded number of rows
    lines = [str(row[0]) for row in connection.fetch_all(f"EXPLAIN {sql}", **values)]
    return {line.partition(" on ")[2].split()[0] for line in lines if "Seq Scan on " in line}


@pytest.mark.parametrize("probe", ["readyz", "metrics"])
def test_no_probe_scans_what_grows(where: dict[str, str], tmp_path: Path, probe: str) -> None:
    installation = Installation(tmp_path, **where)
    installation.save_email(1)
    settings: Settings = installation.settings
    acts: dict[str, Callable[[Database], object]] = {
        "readyz": lambda database: readiness(database, settings),
        "metrics": lambda database: list(collect(database, settings)),
    }
    with installation.database() as database:
        statements = asked(database.connection, acts[probe])
        assert len(statements) >= 5
        for sql, values in statements:
            if not sql.startswith("SELECT pg_"):
                assert scanned(database.connection, sql, values) <= SMALL, sql
