"""Count emails and recipients by status. Triggers maintain the counts (`storage/schema/count_triggers.py`)."""

from __future__ import annotations

from collections.abc import Iterable

from storage.connection import Connection

SELECT_COUNTS = "SELECT status, CAST(SUM(total) AS BIGINT) FROM status_counts WHERE entity = :entity GROUP BY status"


def by_status(connection: Connection, entity: str, statuses: Iterable[str]) -> dict[str, int]:
    """Return the number of rows with each of `statuses`. `entity` is `emails` or `recipients`."""
    counts: dict[str, int] = dict(connection.fetch_all(SELECT_COUNTS, entity=entity))
    return {status: counts.get(status, 0) for status in statuses}
