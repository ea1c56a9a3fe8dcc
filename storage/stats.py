"""Statistics and health of an installation, at the same cost for any number of emails, recipients and deliveries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from storage import counters
from storage.connection import Connection
from storage.hourly_stats import BUCKETS, COLUMNS, OUTCOMES
from storage.schema import guard
from storage.values import epoch_seconds, moment, moment_or_none

SECONDS_PER_HOUR = 3600
MAX_COUNTED = 10_000  # overdue emails that are counted
MAX_CHECKED = 300  # emails being sent that are checked, those with the lowest event_ids

SELECT_OVERDUE = """
SELECT COUNT(*), MIN(since) FROM (
    SELECT CASE WHEN created_at > due_at THEN created_at ELSE due_at END AS since FROM emails
    WHERE status = 'scheduled' AND due_at <= :before AND created_at <= :before ORDER BY due_at LIMIT :limit) AS overdue
"""
# Emails with something to claim of which no message has been accepted since :before.
SELECT_STALLED = """
SELECT COUNT(*), MIN(COALESCE(p.last_sent_at, p.started_at))
FROM (SELECT event_id FROM emails WHERE status = 'sending' ORDER BY event_id LIMIT :limit) AS e
JOIN progress p ON p.event_id = e.event_id
WHERE COALESCE(p.last_sent_at, p.started_at) <= :before AND (
    p.cursor_id < p.last_recipient_id
    OR EXISTS (SELECT 1 FROM deliveries d
               WHERE d.claimed_by IS NULL AND d.finished_at IS NULL AND d.event_id = e.event_id
                   AND d.next_attempt_at <= :before))
"""
SELECT_SENDERS = "SELECT COUNT(*), MAX(heartbeat_at) FROM senders"
# Each probe changes the value, because SQLite writes nothing if nothing changes.
WRITE_PROBE = """
INSERT INTO counters (name, value) VALUES ('probes', 1) ON CONFLICT (name) DO UPDATE SET value = counters.value + 1
"""
# The table has a row for each hour of the last year.
SELECT_SUMS = f"SELECT {', '.join(f'SUM({column})' for column in COLUMNS)} FROM hourly_stats"  # noqa: S608
SELECT_HOURS = f"SELECT hour, {', '.join(COLUMNS)} FROM hourly_stats WHERE hour >= :first ORDER BY hour"  # noqa: S608
SELECT_DEFERRALS = "SELECT code, total FROM deferrals ORDER BY code"


class Waiting(NamedTuple):
    """How many emails are late, and since when the first of them has been late."""

    emails: int
    since: datetime | None


class AtWork(NamedTuple):
    """How many senders are registered, and the most recent of their heartbeats."""

    senders: int
    newest: datetime | None


class Sweeps(NamedTuple):
    """How many sweeps had work, and their total duration."""

    sweeps: int
    milliseconds: int


class Totals(NamedTuple):
    """The sums over all hours."""

    outcomes: Mapping[str, int]
    late: Sequence[int]  # deliveries in each of BUCKETS, then those that were later
    lateness_seconds: int  # the sum over all sent messages
    deferrals: Mapping[str, int]  # by reply code, or `none`


class Hour(NamedTuple):
    """The counts, as in Totals, of the hour that began at `began_at`."""

    began_at: datetime
    sent: int = 0
    deferred: int = 0
    failed: int = 0
    in_doubt: int = 0
    late: Sequence[int] = (0,) * (len(BUCKETS) + 1)
    lateness_seconds: int = 0


class Health:
    """The data for probes and metrics."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def check_tables(self) -> None:
        """Raise SchemaMismatch if the database has been upgraded since this connection was opened."""
        guard.check(self._connection)

    def check_counters(self) -> None:
        """Raise DatabaseUnavailable if a counter is damaged, for example changed by hand."""
        counters.check(self._connection)

    def prove_writable(self) -> None:
        """Commit a small write, as a POST does. Raises the error that a POST would get."""
        with self._connection.transaction():
            self._connection.execute(WRITE_PROBE)

    def integrity_check(self, seconds: float) -> list[str] | None:
        """Return the first few faults in the database, or None if checking all of it takes more than `seconds`."""
        return self._connection.integrity_check(seconds)

    def overdue(self, before: datetime) -> Waiting:
        """Count the emails that were due and saved by `before` but have not been started, up to MAX_COUNTED."""
        ((emails, since),) = self._connection.fetch_all(SELECT_OVERDUE, before=epoch_seconds(before), limit=MAX_COUNTED)
        return Waiting(emails, moment_or_none(since))

    def stalled(self, before: datetime) -> Waiting:
        """Count the started emails with no message accepted since `before`, although something is due."""
        ((emails, since),) = self._connection.fetch_all(SELECT_STALLED, before=epoch_seconds(before), limit=MAX_CHECKED)
        return Waiting(emails, moment_or_none(since))

    def at_work(self) -> AtWork:
        """Return the number of registered senders, including dead ones that have not been taken over yet."""
        ((senders, newest),) = self._connection.fetch_all(SELECT_SENDERS)
        return AtWork(senders, moment_or_none(newest))

    def heartbeat_at(self) -> datetime:
        """Return when a sweep last checked the database, or a sender last renewed its lease."""
        last_sweep_at = counters.read_moment(self._connection, "last_sweep_at") or moment(0)
        return max(last_sweep_at, self.at_work().newest or last_sweep_at)

    def sweeps(self) -> Sweeps:
        """Return the number and the total duration of the sweeps that had work."""
        sweeps, milliseconds = (counters.read(self._connection, name) for name in ("sweeps", "sweep_milliseconds"))
        return Sweeps(sweeps or 0, milliseconds or 0)

    def totals(self) -> Totals:
        """Return all counts since the database was created."""
        (row,) = self._connection.fetch_all(SELECT_SUMS)
        sums = [int(value or 0) for value in row]  # NULL if there are no rows
        outcomes, late = sums[: len(OUTCOMES)], sums[len(OUTCOMES) : -1]
        deferrals: dict[str, int] = dict(self._connection.fetch_all(SELECT_DEFERRALS))
        return Totals(dict(zip(OUTCOMES, outcomes, strict=True)), late, sums[-1], deferrals)

    def hours(self, since: datetime) -> list[Hour]:
        """Return the hours in which something was counted, starting with the hour of `since`."""
        rows = self._connection.fetch_all(SELECT_HOURS, first=epoch_seconds(since) // SECONDS_PER_HOUR)
        return [
            Hour(moment(hour * SECONDS_PER_HOUR), sent, deferred, failed, in_doubt, late, lateness)
            for hour, sent, deferred, failed, in_doubt, *late, lateness in rows
        ]

    def size(self) -> int:
        """Return the size of the database on disk, in bytes."""
        return self._connection.size()
