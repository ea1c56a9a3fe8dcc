"""From a due email to a finished one: begun, counted, finished, logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from storage.connection import Connection, Statement

BATCH = 200  # emails begun, or logged, in one transaction

DUE = "SELECT event_id FROM emails WHERE status = 'scheduled' AND due_at <= :now ORDER BY due_at LIMIT :most"
BEGIN = "UPDATE emails SET status = 'sending' WHERE event_id = :event_id AND status = 'scheduled'"
HOLD = "UPDATE emails SET status = 'held', held_because = :reason WHERE event_id = :event_id AND status = 'scheduled'"
IS_STALE = """
SELECT 1 FROM emails WHERE event_id = :event_id AND due_at < :limit AND created_at < :limit
"""
ANY_ACTIVE = """
SELECT 1 FROM counts WHERE noun = 'recipients' AND status = 'active' GROUP BY status HAVING SUM(number) > 0
"""
FREEZE = """
INSERT INTO progress (event_id, started_at, last_recipient_id, recipients)
SELECT :event_id, :now, MAX(recipient_id), (
    SELECT CAST(SUM(number) AS BIGINT) FROM counts WHERE noun = 'recipients' AND status = 'active')
FROM recipients WHERE recipient_id > 0
"""
UNFINISHED = "SELECT cursor_id, last_recipient_id FROM progress WHERE cursor_id < last_recipient_id"
MOVE_CURSOR = """
UPDATE progress SET cursor_id = COALESCE(:to, last_recipient_id), deliveries = deliveries + :added
WHERE event_id = :event_id
"""
COUNT = """
UPDATE progress SET sent = sent + :sent, failed = failed + :failed, unknown = unknown + :unknown,
    cancelled = cancelled + :cancelled, first_sent_at = COALESCE(first_sent_at, :sent_at),
    last_sent_at = COALESCE(:sent_at, last_sent_at)
WHERE event_id = :event_id
RETURNING cursor_id >= last_recipient_id AND deliveries = sent + failed + unknown + cancelled
"""
FINISH = """
UPDATE emails SET status = CASE status WHEN 'sending' THEN 'sent' ELSE status END, finished_at = :now
WHERE event_id = :event_id AND (status = 'sending' OR (status = 'cancelled' AND finished_at IS NULL)) AND EXISTS (
    SELECT 1 FROM progress p WHERE p.event_id = emails.event_id AND p.cursor_id >= p.last_recipient_id
    AND p.deliveries = p.sent + p.failed + p.unknown + p.cancelled)
"""
MARK = """
INSERT INTO counters (name, value) VALUES ('backup_made_at', :now)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
BACKUP_MADE_AT = "SELECT value FROM counters WHERE name = 'backup_made_at'"
LOST_COMMITS = "SELECT value FROM counters WHERE name = 'lost_commits'"
UNMARK = "DELETE FROM counters WHERE name IN ('backup_made_at', 'lost_commits')"
HOLD_RESTORED = """
UPDATE emails SET status = 'held', held_because = :reason
WHERE status = 'sending' OR (status = 'scheduled' AND due_at <= :now AND created_at <= :made_at)
"""
OWED = "SELECT 1 FROM emails WHERE status = 'sent' AND logged = 0 LIMIT 1"
UNLOGGED = "SELECT event_id FROM emails WHERE status = 'sent' AND logged = 0 ORDER BY event_id LIMIT :most"
LOGGED = "UPDATE emails SET logged = 1 WHERE event_id = :event_id"
LOCK = "SELECT 1 FROM progress WHERE event_id = :event_id {for_update}"
REOPEN = "UPDATE emails SET status = 'sending', finished_at = NULL, logged = 0 WHERE event_id = :event_id"
READ = """
SELECT event_id, deliveries, sent, failed, unknown, cancelled FROM progress WHERE event_id = :event_id
"""
NEXT_DUE = "SELECT MIN(due_at) FROM emails WHERE status = 'scheduled'"
DUE_SECONDS = """
SELECT DISTINCT due_at FROM emails WHERE status = 'scheduled' AND due_at > :now ORDER BY due_at LIMIT :most
"""

NONE = {"sent": 0, "failed": 0, "unknown": 0, "cancelled": 0}  # of each final state
NO_RECIPIENTS = "there was no active recipient when it was due"
RESTORED = "it is from a backup, and may have been sent since that was made"


class Progress(NamedTuple):
    """How many deliveries an email has so far, and how many of them are in each final state."""

    event_id: int
    deliveries: int
    sent: int
    failed: int
    unknown: int
    cancelled: int


class Begun(NamedTuple):
    """An email that was due; `held_because` says why it was not begun: then a person decides."""

    event_id: int
    held_because: str | None


class Unmade(NamedTuple):
    """Deliveries are still to be made for the recipients behind `after`, up to `last`."""

    after: int
    last: int


class Restored(NamedTuple):
    """This database came from a backup made at that second, or lost commits then; so many emails are held for it."""

    made_at: int
    held: int
    lost_commits: int  # at least so many


class ProgressTable:
    """The acts on the progress of emails."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, event_id: int) -> Progress | None:
        """How far an email has come; None when it was never started."""
        row = self._connection.fetch_one(READ, event_id=event_id)
        return None if row is None else Progress(*row)

    def next_due_at(self) -> int | None:
        """When the next scheduled email is due."""
        row = self._connection.fetch_one(NEXT_DUE)
        return None if row is None else row[0]

    def next_due_seconds(self, now: int, most: int) -> list[int]:
        """The next seconds after `now` at which emails are due, up to `most` of them."""
        return [row[0] for row in self._connection.fetch_all(DUE_SECONDS, now=now, most=most)]

    def begin_due(self, now: int, hold_if_late: int = 0, most: int = BATCH) -> list[Begun]:
        """Begin up to `most` emails that are due; claims make their deliveries. Some are held instead."""
        if self._connection.fetch_one(DUE, now=now, most=1) is None:
            return []
        with self._connection.transaction():
            due = self._connection.fetch_all(f"{DUE} {self._connection.for_update_skip_locked}", now=now, most=most)
            return [Begun(event_id, self._begin(event_id, now, hold_if_late)) for (event_id,) in due]

    def mark_as_backup(self, now: int) -> None:
        """Say in a copy of a database that it is one: what it is about to send may have been sent since."""
        with self._connection.transaction():
            self._connection.execute(MARK, now=now)

    def hold_restored(self, now: int) -> Restored | None:
        """In a database with the mark of a backup, hold what is begun or due, once; None without a mark."""
        if self._connection.fetch_one(BACKUP_MADE_AT) is None:
            return None
        with self._connection.transaction():
            mark = self._connection.fetch_one(BACKUP_MADE_AT)
            if mark is None:
                return None
            held = self._connection.execute(HOLD_RESTORED, reason=RESTORED, now=now, made_at=mark[0])
            lost = self._connection.fetch_one(LOST_COMMITS) or (0,)
            self._connection.execute(UNMARK)
            return Restored(mark[0], held, lost[0])

    def move_cursor(self, event_id: int, to: int | None, added: int, now: int) -> None:
        """Deliveries exist up to the recipient `to` (None: the last), `added` of them new; finishes an empty email."""
        self._connection.execute(MOVE_CURSOR, event_id=event_id, to=to, added=added)
        if to is None:
            self.finish_if_complete(event_id, now)

    def unmade(self, event_id: int) -> Unmade | None:
        """Which deliveries of this email are still to be made; inside a transaction, by nobody else meanwhile."""
        row = self._connection.fetch_one(
            f"{UNFINISHED} AND event_id = :event_id {self._connection.for_update}", event_id=event_id
        )
        return None if row is None else Unmade(*row)

    def any_unfinished(self) -> bool:
        """Whether deliveries of any email that was begun are still to be made."""
        return self._connection.fetch_one(f"{UNFINISHED} LIMIT 1") is not None

    def count(self, event_id: int, changes: Mapping[str, int], now: int, sent_at: int | None = None) -> None:
        """Add to the counters, in the transaction of the deliveries' own change; finishes a complete email."""
        (told,) = self._connection.execute_pipelined([self.counting(event_id, changes, sent_at)])
        if told == [(True,)]:
            self.finish_if_complete(event_id, now)

    @staticmethod
    def counting(event_id: int, changes: Mapping[str, int], sent_at: int | None) -> Statement:
        """The statement that adds to the counters; it tells whether the email is complete now."""
        return COUNT, {**NONE, **changes, "event_id": event_id, "sent_at": sent_at}

    @staticmethod
    def finishing(event_id: int, now: int) -> Statement:
        """The statement that finishes an email if it is complete: each delivery made, and in a final state."""
        return FINISH, {"event_id": event_id, "now": now}

    def finish_if_complete(self, event_id: int, now: int) -> None:
        """Once each delivery of an email is made and in a final state it is `sent`; a cancelled one is finished."""
        self._connection.execute(FINISH, event_id=event_id, now=now)

    def lock(self, event_id: int) -> bool:
        """Let nobody else count, make deliveries or cancel until this transaction ends; False if it was not begun.

        Whoever needs the email's row, too, takes that one afterwards, so that no two wait for each other.
        """
        return (
            self._connection.fetch_one(LOCK.format(for_update=self._connection.for_update), event_id=event_id)
            is not None
        )

    def begin_at_once(self, event_id: int, now: int) -> bool:
        """Begin an email that its release made `sending`; False if there is no active recipient."""
        if self._connection.fetch_one(ANY_ACTIVE) is None:
            return False
        return self._connection.execute(FREEZE, event_id=event_id, now=now) == 1

    def reopen(self, event_id: int) -> None:
        """Make a finished email `sending` again."""
        self._connection.execute(REOPEN, event_id=event_id)

    def log_owed(self) -> bool:
        """Whether an email is finished whose line in the log is owed."""
        return self._connection.fetch_one(OWED) is not None

    def log_finished(self, write: Callable[[list[int]], None]) -> int:
        """Call `write` with the event_ids of finished emails whose lines are owed, each once; how many in all.

        The lock is held meanwhile, so that two sweeps never write the same line; when `write` raises, the
        lines stay owed.
        """
        count = 0
        while self.log_owed():
            with self._connection.transaction():
                owed = [
                    row[0]
                    for row in self._connection.fetch_all(f"{UNLOGGED} {self._connection.for_update}", most=BATCH)
                ]
                write(owed)
                for event_id in owed:
                    self._connection.execute(LOGGED, event_id=event_id)
                count += len(owed)
        return count

    def _begin(self, event_id: int, now: int, hold_if_late: int) -> str | None:
        reason = self._reason_to_hold(event_id, now, hold_if_late)
        if reason is not None:
            self._connection.execute(HOLD, event_id=event_id, reason=reason)
        elif self._connection.execute(BEGIN, event_id=event_id):
            self._connection.execute(FREEZE, event_id=event_id, now=now)
        return reason

    def _reason_to_hold(self, event_id: int, now: int, hold_if_late: int) -> str | None:
        if self._connection.fetch_one(ANY_ACTIVE) is None:
            return NO_RECIPIENTS
        if hold_if_late and self._connection.fetch_one(IS_STALE, event_id=event_id, limit=now - hold_if_late):
            return f"it would have been sent more than {hold_if_late} seconds late"
        return None
