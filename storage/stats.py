"""Is the mail going out? Looks that cost the same whatever the number of emails, recipients and deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from storage import schema
from storage.connection import Connection
from storage.hourly_stats import BUCKETS, COLUMNS, OUTCOMES

MOST = 10_000  # overdue emails that are counted
LOOKED_AT = 300  # emails that are being sent, those of the lowest event_ids

OVERDUE = """
SELECT COUNT(*), MIN(due_at) FROM (
    SELECT due_at FROM emails WHERE status = 'scheduled' AND due_at <= :before ORDER BY due_at LIMIT :most) AS overdue
"""
# There is something to claim, and nothing of that email has been accepted for as long.
STALLED = """
SELECT COUNT(*), MIN(COALESCE(p.last_sent_at, p.started_at))
FROM (SELECT event_id FROM emails WHERE status = 'sending' ORDER BY event_id LIMIT :most) AS e
JOIN progress p ON p.event_id = e.event_id
WHERE COALESCE(p.last_sent_at, p.started_at) <= :before AND (
    p.cursor_id < p.last_recipient_id
    OR EXISTS (SELECT 1 FROM deliveries d
               WHERE d.claimed_by IS NULL AND d.finished_at IS NULL AND d.event_id = e.event_id
                   AND d.next_attempt_at <= :before))
"""
SENDERS = "SELECT COUNT(*), MIN(heartbeat_at), MAX(heartbeat_at) FROM senders"
COUNTERS = "SELECT value FROM counters WHERE name = :name"
# Another value each time: SQLite writes nothing where nothing changes.
PROBE = """
INSERT INTO counters (name, value) VALUES ('probes', 1) ON CONFLICT (name) DO UPDATE SET value = counters.value + 1
"""
# A row for each hour of the last year.
SUMS = f"SELECT {', '.join(f'SUM({column})' for column in COLUMNS)} FROM hours"  # noqa: S608
HOURS = f"SELECT hour, {', '.join(COLUMNS)} FROM hours WHERE hour >= :first ORDER BY hour"  # noqa: S608
COUNTS = 1 + len(OUTCOMES)  # columns of HOURS before those of the lateness
DEFERRALS = "SELECT code, times FROM deferrals ORDER BY code"


class Waiting(NamedTuple):
    """So many emails wait that should not, the first of them since then (seconds since 1970 UTC)."""

    emails: int
    since: int | None


class AtWork(NamedTuple):
    """So many senders, with the oldest and the newest of their heartbeats."""

    senders: int
    oldest: int | None
    newest: int | None


class Sweeps(NamedTuple):
    """So many sweeps had work, which took so long in all."""

    sweeps: int
    milliseconds: int


class Totals(NamedTuple):
    """All that was ever counted."""

    outcomes: Mapping[str, int]
    late: Sequence[int]  # deliveries in each of BUCKETS, and at the end those that were later still
    lateness: int  # their sum, in seconds
    deferrals: Mapping[str, int]  # by reply code, or `none`


class Hour(NamedTuple):
    """What was counted in one hour (seconds since 1970 UTC divided by 3600), as in Totals."""

    hour: int
    sent: int = 0
    deferred: int = 0
    failed: int = 0
    in_doubt: int = 0
    late: Sequence[int] = (0,) * (len(BUCKETS) + 1)
    lateness: int = 0


class Health:
    """What a probe looks at."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check_tables(self) -> None:
        """Raise SchemaMismatch if another program has changed them since this connection was made."""
        schema.check(self._connection)

    def prove_writable(self) -> None:
        """Commit something small, as a POST does; whatever would keep a POST from being saved is raised."""
        with self._connection.transaction():
            self._connection.execute(PROBE)

    def integrity_check(self, seconds: float) -> list[str] | None:
        """Return the first few faults in the database, or None if `seconds` were not enough to check all of it."""
        return self._connection.integrity_check(seconds)

    def overdue(self, before: int) -> Waiting:
        """Emails that were due by then and are not begun; of very many, MOST are counted."""
        (row,) = self._connection.fetch_all(OVERDUE, before=before, most=MOST)
        return Waiting(*row)

    def stalled(self, before: int) -> Waiting:
        """Emails that are being sent, of which nothing was accepted since then although something could be tried."""
        (row,) = self._connection.fetch_all(STALLED, before=before, most=LOOKED_AT)
        return Waiting(*row)

    def at_work(self) -> AtWork:
        """The senders, a dead one that nobody has taken over yet among them."""
        (row,) = self._connection.fetch_all(SENDERS)
        return AtWork(*row)

    def heartbeat_at(self) -> int:
        """When a sweep last looked at the database, or a sender that is at work renewed its lease."""
        return max(self._counter("last_sweep_at"), self.at_work().newest or 0)

    def sweeps(self) -> Sweeps:
        """The sweeps so far that had work."""
        return Sweeps(self._counter("sweeps"), self._counter("sweep_milliseconds"))

    def totals(self) -> Totals:
        """All that was counted since the tables were made."""
        (row,) = self._connection.fetch_all(SUMS)
        sums = [int(value or 0) for value in row]  # of no rows at all: NULL
        outcomes, late = sums[: len(OUTCOMES)], sums[len(OUTCOMES) : -1]
        deferrals: dict[str, int] = dict(self._connection.fetch_all(DEFERRALS))
        return Totals(dict(zip(OUTCOMES, outcomes, strict=True)), late, sums[-1], deferrals)

    def hours(self, first: int) -> list[Hour]:
        """The hours from `first` on in which something was counted."""
        rows = self._connection.fetch_all(HOURS, first=first)
        return [Hour(*row[:COUNTS])._replace(late=row[COUNTS:-1], lateness=row[-1]) for row in rows]

    def size(self) -> int:
        """The bytes that the database has on its disk."""
        return self._connection.size()

    def _counter(self, name: str) -> int:
        row = self._connection.fetch_one(COUNTERS, name=name)
        return int(row[0]) if row else 0
