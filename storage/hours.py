"""What is counted by the hour, in the commit of what it counts; `storage/stats.py` adds it up."""

from __future__ import annotations

from bisect import bisect_left

from storage.connection import Connection, Statement

BUCKETS = (1, 5, 15, 60, 300, 900, 3600)  # seconds of lateness, each up to and with the number
LATE = (*(f"late_{seconds}" for seconds in BUCKETS), "late_more")
OUTCOMES = ("sent", "deferred", "failed", "in_doubt")
COLUMNS = (*OUTCOMES, *LATE, "lateness")
KEPT_HOURS = 366 * 24
KEPT = 1000  # emails of which the due second is remembered


def _add(*columns: str) -> str:
    """A statement that adds to these columns of an hour; the value of each has its name, in `late_…` it is :sent."""
    values = ", ".join(":sent" if column in LATE else f":{column}" for column in columns)
    sums = ", ".join(f"{column} = hours.{column} + excluded.{column}" for column in columns)
    names = ", ".join(columns)
    return f"INSERT INTO hours (hour, {names}) VALUES (:hour, {values}) ON CONFLICT (hour) DO UPDATE SET {sums}"  # noqa: S608 - names of our own


ADD_SENT = tuple(_add("sent", column, "lateness") for column in LATE)
ADD = {outcome: _add(outcome) for outcome in OUTCOMES}
DUE_AT = "SELECT due_at, created_at FROM emails WHERE event_id = :event_id"
ADD_DEFERRAL = """
INSERT INTO deferrals (code, times) VALUES (:code, 1) ON CONFLICT (code) DO UPDATE SET times = deferrals.times + 1
"""

# Sums over all hours stay what they were.
ANY_OLD = "SELECT 1 FROM hours WHERE hour > 0 AND hour < :before LIMIT 1"
FOLD = f"""
INSERT INTO hours (hour, {", ".join(COLUMNS)})
SELECT 0, {", ".join(f"SUM({column})" for column in COLUMNS)} FROM hours WHERE hour > 0 AND hour < :before
ON CONFLICT (hour) DO UPDATE SET {", ".join(f"{column} = hours.{column} + excluded.{column}" for column in COLUMNS)}
"""  # noqa: S608 - names of our own
FORGET = "DELETE FROM hours WHERE hour > 0 AND hour < :before"


def fold_old(connection: Connection, now: int) -> None:
    """Add what is older than a year up in the hour 0, so that there are never many. By one at a time only."""
    before = now // 3600 - KEPT_HOURS
    if connection.fetch_one(ANY_OLD, before=before) is not None:
        connection.execute(FOLD, before=before)
        connection.execute(FORGET, before=before)


class Hours:
    """The acts on what is counted by the hour."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._due_at: dict[int, int] = {}

    def counting(self, outcome: str, event_id: int, at: int, count: int = 1) -> Statement:
        """Counts outcomes of an email's deliveries: to be run in the transaction that settles them."""
        if outcome != "sent":
            return ADD[outcome], {"hour": at // 3600, outcome: count}
        late = max(at - self._due(event_id), 0)
        return ADD_SENT[bisect_left(BUCKETS, late)], {"hour": at // 3600, "sent": count, "lateness": late * count}

    def count_deferral(self, reply: str) -> None:
        """Count that a server put a delivery off with these words, or without any."""
        code = reply[:3]
        self._connection.execute(ADD_DEFERRAL, code=code if code.isascii() and code.isdigit() else "none")

    def _due(self, event_id: int) -> int:
        """When it was due, or POSTed if that was later."""
        if event_id not in self._due_at:
            if len(self._due_at) >= KEPT:
                self._due_at.clear()
            ((due_at, created_at),) = self._connection.fetch_all(DUE_AT, event_id=event_id)
            self._due_at[event_id] = max(due_at, created_at)
        return self._due_at[event_id]
