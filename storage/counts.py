"""How many rows there are of each status, whatever their number."""

from __future__ import annotations

from collections.abc import Iterable

from storage.connection import Connection

COUNTS = "SELECT status, CAST(SUM(number) AS BIGINT) FROM counts WHERE noun = :noun GROUP BY status"


def by_status(connection: Connection, noun: str, statuses: Iterable[str]) -> dict[str, int]:
    """How many of these `emails` or `recipients` there are in each of `statuses`."""
    counts: dict[str, int] = dict(connection.fetch_all(COUNTS, noun=noun))
    return {status: counts.get(status, 0) for status in statuses}
