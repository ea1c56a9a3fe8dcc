"""The numbers of emails and recipients by status, which triggers keep (`storage/schema/count_triggers.py`)."""

from __future__ import annotations

from collections.abc import Iterable

from storage.connection import Connection

SELECT_COUNTS = "SELECT status, CAST(SUM(number) AS BIGINT) FROM counts WHERE noun = :noun GROUP BY status"


def by_status(connection: Connection, noun: str, statuses: Iterable[str]) -> dict[str, int]:
    """Return how many `emails` or `recipients` there are with each of `statuses`."""
    counts: dict[str, int] = dict(connection.fetch_all(SELECT_COUNTS, noun=noun))
    return {status: counts.get(status, 0) for status in statuses}
