"""Count outcomes by hour, in the same commit as the outcomes themselves. `storage/stats.py` reads the counts."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from storage.connection import Connection, Statement

BUCKETS = (1, 5, 15, 60, 300, 900, 3600)  # the upper bounds of lateness, inclusive, in seconds
LATE_COLUMNS = (*(f"late_{seconds}" for seconds in BUCKETS), f"late_over_{BUCKETS[-1]}")
OUTCOMES = ("sent", "deferred", "failed", "in_doubt")
COLUMNS = (*OUTCOMES, *LATE_COLUMNS, "lateness_seconds")
RETENTION_HOURS = 366 * 24
MAX_CACHED_EMAILS = 1000  # emails whose due times are kept in memory


def _sums(columns: Iterable[str]) -> str:
    return ", ".join(f"{column} = hourly_stats.{column} + excluded.{column}" for column in columns)


def _add(*columns: str) -> str:
    """Return a statement that adds to these columns of an hour, from parameters with their names.

    A `late_…` column gets the value of `:sent`.
    """
    names = ", ".join(columns)
    values = ", ".join(":sent" if column in LATE_COLUMNS else f":{column}" for column in columns)
    return f"""
INSERT INTO hourly_stats (hour, {names}) VALUES (:hour, {values}) ON CONFLICT (hour) DO UPDATE SET {_sums(columns)}
"""  # noqa: S608 - names of our own


ADD_SENT = tuple(_add("sent", column, "lateness_seconds") for column in LATE_COLUMNS)
ADD_OUTCOME = {outcome: _add(outcome) for outcome in OUTCOMES}
SELECT_DUE_AT = "SELECT due_at, created_at FROM emails WHERE event_id = :event_id"
ADD_DEFERRAL = """
INSERT INTO deferrals (code, total) VALUES (:code, 1) ON CONFLICT (code) DO UPDATE SET total = deferrals.total + 1
"""

# This does not change any sum over all hours.
ANY_OLD = "SELECT 1 FROM hourly_stats WHERE hour > 0 AND hour < :before LIMIT 1"
ROLL_UP_OLD = f"""
INSERT INTO hourly_stats (hour, {", ".join(COLUMNS)})
SELECT 0, {", ".join(f"SUM({column})" for column in COLUMNS)} FROM hourly_stats WHERE hour > 0 AND hour < :before
ON CONFLICT (hour) DO UPDATE SET {_sums(COLUMNS)}
"""  # noqa: S608 - names of our own
DELETE_OLD = "DELETE FROM hourly_stats WHERE hour > 0 AND hour < :before"


def roll_up_old_hours(connection: Connection, now: int) -> None:
    """Add the hours older than a year to hour 0, and delete them. Only one process at a time may call this."""
    before = now // 3600 - RETENTION_HOURS
    if connection.fetch_one(ANY_OLD, before=before) is not None:
        connection.execute(ROLL_UP_OLD, before=before)
        connection.execute(DELETE_OLD, before=before)


class HourlyStats:
    """The counts of an installation by hour."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ready_at_of: dict[int, int] = {}

    def count_statement(self, outcome: str, event_id: int, at: int, count: int = 1) -> Statement:
        """Return the statement that counts outcomes of an email's deliveries, for the transaction that records them."""
        if outcome != "sent":
            return ADD_OUTCOME[outcome], {"hour": at // 3600, outcome: count}
        late = max(at - self._ready_at(event_id), 0)
        return ADD_SENT[bisect_left(BUCKETS, late)], {
            "hour": at // 3600,
            "sent": count,
            "lateness_seconds": late * count,
        }

    def count_deferral(self, reply: str) -> None:
        """Count a deferral by the code of the server's reply. A reply without a code counts as `none`."""
        code = reply[:3]
        self._connection.execute(ADD_DEFERRAL, code=code if code.isascii() and code.isdigit() else "none")

    def _ready_at(self, event_id: int) -> int:
        """Return when an email was due, or submitted if that was later, in seconds since 1970 UTC."""
        if event_id not in self._ready_at_of:
            if len(self._ready_at_of) >= MAX_CACHED_EMAILS:
                self._ready_at_of.clear()
            ((due_at, created_at),) = self._connection.fetch_all(SELECT_DUE_AT, event_id=event_id)
            self._ready_at_of[event_id] = max(due_at, created_at)
        return self._ready_at_of[event_id]
