"""The progress of an email: started when it is due, its deliveries counted, finished and logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from storage import counters
from storage.connection import Connection, Statement
from storage.errors import NoSuchEmail

BATCH_SIZE = 200  # emails that are started, or logged, in one transaction

SELECT_DUE = "SELECT event_id FROM emails WHERE status = 'scheduled' AND due_at <= :now ORDER BY due_at LIMIT :limit"
SET_SENDING = "UPDATE emails SET status = 'sending' WHERE event_id = :event_id AND status = 'scheduled'"
SET_HELD = (
    "UPDATE emails SET status = 'held', held_because = :reason WHERE event_id = :event_id AND status = 'scheduled'"
)
IS_STALE = """
SELECT 1 FROM emails WHERE event_id = :event_id AND due_at < :limit AND created_at < :limit
"""
ANY_ACTIVE = """
SELECT 1 FROM status_counts WHERE entity = 'recipients' AND status = 'active' GROUP BY status HAVING SUM(total) > 0
"""
SNAPSHOT_RECIPIENTS = """
INSERT INTO progress (event_id, started_at, last_recipient_id, recipients)
SELECT :event_id, :now, MAX(recipient_id), (
    SELECT CAST(SUM(total) AS BIGINT) FROM status_counts WHERE entity = 'recipients' AND status = 'active')
FROM recipients WHERE recipient_id > 0
"""
REMAINING = "SELECT cursor_id, last_recipient_id FROM progress WHERE cursor_id < last_recipient_id"
MOVE_CURSOR = """
UPDATE progress SET cursor_id = COALESCE(:to, last_recipient_id), deliveries = deliveries + :added
WHERE event_id = :event_id
"""
ADD_COUNTS = """
UPDATE progress SET sent = sent + :sent, failed = failed + :failed, unknown = unknown + :unknown,
    cancelled = cancelled + :cancelled, first_sent_at = COALESCE(first_sent_at, :sent_at),
    last_sent_at = COALESCE(:sent_at, last_sent_at)
WHERE event_id = :event_id
RETURNING cursor_id >= last_recipient_id AND deliveries = sent + failed + unknown + cancelled
"""
FINISH_IF_COMPLETE = """
UPDATE emails SET status = CASE status WHEN 'sending' THEN 'sent' ELSE status END, finished_at = :now
WHERE event_id = :event_id AND (status = 'sending' OR (status = 'cancelled' AND finished_at IS NULL)) AND EXISTS (
    SELECT 1 FROM progress p WHERE p.event_id = emails.event_id AND p.cursor_id >= p.last_recipient_id
    AND p.deliveries = p.sent + p.failed + p.unknown + p.cancelled)
"""
MARK_AS_BACKUP = """
INSERT INTO counters (name, value) VALUES ('backup_made_at', :now)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
REMOVE_BACKUP_MARK = "DELETE FROM counters WHERE name IN ('backup_made_at', 'lost_commits')"
HOLD_RESTORED = """
UPDATE emails SET status = 'held', held_because = :reason
WHERE status = 'sending' OR (status = 'scheduled' AND due_at <= :now AND created_at <= :made_at)
"""
ANY_UNLOGGED = "SELECT 1 FROM emails WHERE status = 'sent' AND logged = 0 LIMIT 1"
SELECT_UNLOGGED = "SELECT event_id FROM emails WHERE status = 'sent' AND logged = 0 ORDER BY event_id LIMIT :limit"
SET_LOGGED = "UPDATE emails SET logged = 1 WHERE event_id = :event_id"
SELECT_EMAIL_STATUS = "SELECT status FROM emails WHERE event_id = :event_id {for_update}"
LOCK_PROGRESS = "SELECT 1 FROM progress WHERE event_id = :event_id {for_update}"
SET_SENDING_AGAIN = "UPDATE emails SET status = 'sending', finished_at = NULL, logged = 0 WHERE event_id = :event_id"
SELECT_PROGRESS = """
SELECT event_id, deliveries, sent, failed, unknown, cancelled FROM progress WHERE event_id = :event_id
"""
NEXT_DUE_AT = "SELECT MIN(due_at) FROM emails WHERE status = 'scheduled'"
NEXT_DUE_SECONDS = """
SELECT DISTINCT due_at FROM emails WHERE status = 'scheduled' AND due_at > :now ORDER BY due_at LIMIT :limit
"""

NO_CHANGE = {"sent": 0, "failed": 0, "unknown": 0, "cancelled": 0}  # of each final status
NO_RECIPIENTS = "there was no active recipient when it was due"
MAY_HAVE_BEEN_SENT = "it is from a backup, and may have been sent since that was made"


class Progress(NamedTuple):
    """How many deliveries an email has so far, and how many of them have each final status."""

    event_id: int
    deliveries: int
    sent: int
    failed: int
    unknown: int
    cancelled: int


class DueEmail(NamedTuple):
    """An email that was due. `held_because` is why it was held instead of started, so that a person decides."""

    event_id: int
    held_because: str | None


class RecipientRange(NamedTuple):
    """The recipients after `after`, up to and including `last`, whose deliveries do not exist yet."""

    after: int
    last: int


class Restored(NamedTuple):
    """The database is a backup made at `made_at`, or lost commits then; `held` emails were held because of that."""

    made_at: int
    held: int
    lost_commits: int  # at least


class ProgressTable:
    """The progress of all emails of an installation."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def get(self, event_id: int) -> Progress | None:
        """Return the progress of an email, or None if it was never started."""
        row = self._connection.fetch_one(SELECT_PROGRESS, event_id=event_id)
        return None if row is None else Progress(*row)

    def next_due_at(self) -> int | None:
        """Return when the next scheduled email is due, or None."""
        row = self._connection.fetch_one(NEXT_DUE_AT)
        return None if row is None else row[0]

    def next_due_seconds(self, now: int, limit: int) -> list[int]:
        """Return the next seconds after `now` at which emails are due, up to `limit` of them."""
        return [row[0] for row in self._connection.fetch_all(NEXT_DUE_SECONDS, now=now, limit=limit)]

    def start_due_emails(self, now: int, hold_if_late: int = 0, limit: int = BATCH_SIZE) -> list[DueEmail]:
        """Start up to `limit` emails that are due, or hold them. Their deliveries are created when they are claimed."""
        if self._connection.fetch_one(SELECT_DUE, now=now, limit=1) is None:
            return []
        with self._connection.transaction():
            sql = f"{SELECT_DUE} {self._connection.for_update_skip_locked}"
            due = self._connection.fetch_all(sql, now=now, limit=limit)
            return [DueEmail(event_id, self._start(event_id, now, hold_if_late)) for (event_id,) in due]

    def mark_as_backup(self, now: int) -> None:
        """Mark a copy of a database as a backup: what it is about to send may have been sent since it was made."""
        with self._connection.transaction():
            self._connection.execute(MARK_AS_BACKUP, now=now)

    def hold_restored(self, now: int) -> Restored | None:
        """Hold what is started or due in a database marked as a backup, and remove the mark; None without a mark."""
        if counters.read(self._connection, "backup_made_at") is None:
            return None
        with self._connection.transaction():
            made_at = counters.read(self._connection, "backup_made_at")
            if made_at is None:
                return None
            held = self._connection.execute(HOLD_RESTORED, reason=MAY_HAVE_BEEN_SENT, now=now, made_at=made_at)
            lost_commits = counters.read(self._connection, "lost_commits") or 0
            self._connection.execute(REMOVE_BACKUP_MARK)
            return Restored(made_at, held, lost_commits)

    def move_cursor(self, event_id: int, to: int | None, added: int, now: int) -> None:
        """Record that deliveries exist up to the recipient `to`, `added` of them new. None is the last recipient."""
        self._connection.execute(MOVE_CURSOR, event_id=event_id, to=to, added=added)
        if to is None:
            self.finish_if_complete(event_id, now)

    def remaining_recipients(self, event_id: int) -> RecipientRange | None:
        """Return the recipients whose deliveries do not exist yet, or None. Locks the progress of the email."""
        row = self._connection.fetch_one(
            f"{REMAINING} AND event_id = :event_id {self._connection.for_update}", event_id=event_id
        )
        return None if row is None else RecipientRange(*row)

    def count(self, event_id: int, changes: Mapping[str, int], now: int, sent_at: int | None = None) -> None:
        """Add to the counts of an email, in the transaction that changes its deliveries; finish it if complete."""
        (result,) = self._connection.execute_pipelined([self.count_statement(event_id, changes, sent_at)])
        if result == [(True,)]:
            self.finish_if_complete(event_id, now)

    @staticmethod
    def count_statement(event_id: int, changes: Mapping[str, int], sent_at: int | None) -> Statement:
        """Return the statement that adds to the counts of an email; its row says whether the email is complete now."""
        return ADD_COUNTS, {**NO_CHANGE, **changes, "event_id": event_id, "sent_at": sent_at}

    @staticmethod
    def finish_statement(event_id: int, now: int) -> Statement:
        """Return the statement that finishes an email if all its deliveries exist and have a final status."""
        return FINISH_IF_COMPLETE, {"event_id": event_id, "now": now}

    def finish_if_complete(self, event_id: int, now: int) -> None:
        """Make an email `sent` if all its deliveries exist and have a final status; a cancelled one stays cancelled."""
        self._connection.execute(FINISH_IF_COMPLETE, event_id=event_id, now=now)

    def lock(self, event_id: int) -> bool:
        """Lock the progress of an email for this transaction; return False if the email was not started.

        Counting, creating deliveries and cancelling take this lock. To avoid deadlocks, lock the row of the email only
        after this one.
        """
        return (
            self._connection.fetch_one(LOCK_PROGRESS.format(for_update=self._connection.for_update), event_id=event_id)
            is not None
        )

    def email_status(self, event_id: int, *, lock: bool = False) -> str:
        """Return the status of an email. With `lock`, it stays so until the transaction ends. Raises NoSuchEmail."""
        sql = SELECT_EMAIL_STATUS.format(for_update=self._connection.for_update if lock else "")
        row = self._connection.fetch_one(sql, event_id=event_id)
        if row is None:
            raise NoSuchEmail(event_id)
        return str(row[0])

    def start_now(self, event_id: int, now: int) -> bool:
        """Start an email that its release made `sending`; return False if there is no active recipient."""
        if self._connection.fetch_one(ANY_ACTIVE) is None:
            return False
        return self._connection.execute(SNAPSHOT_RECIPIENTS, event_id=event_id, now=now) == 1

    def reopen(self, event_id: int) -> None:
        """Make a finished email `sending` again, because some of its deliveries are retried."""
        self._connection.execute(SET_SENDING_AGAIN, event_id=event_id)

    def has_unlogged(self) -> bool:
        """Return whether the line of a sent email has yet to be written to the log."""
        return self._connection.fetch_one(ANY_UNLOGGED) is not None

    def flush_completion_log(self, write: Callable[[list[int]], None]) -> int:
        """Call `write` with the event_ids of sent emails that are not logged, each once; return how many there were.

        Their rows are locked meanwhile, so that two sweeps never write the same line. If `write` raises, the emails
        are not marked as logged.
        """
        count = 0
        while self.has_unlogged():
            with self._connection.transaction():
                sql = f"{SELECT_UNLOGGED} {self._connection.for_update}"
                event_ids = [event_id for (event_id,) in self._connection.fetch_all(sql, limit=BATCH_SIZE)]
                write(event_ids)
                for event_id in event_ids:
                    self._connection.execute(SET_LOGGED, event_id=event_id)
                count += len(event_ids)
        return count

    def _start(self, event_id: int, now: int, hold_if_late: int) -> str | None:
        reason = self._reason_to_hold(event_id, now, hold_if_late)
        if reason is not None:
            self._connection.execute(SET_HELD, event_id=event_id, reason=reason)
        elif self._connection.execute(SET_SENDING, event_id=event_id):
            self._connection.execute(SNAPSHOT_RECIPIENTS, event_id=event_id, now=now)
        return reason

    def _reason_to_hold(self, event_id: int, now: int, hold_if_late: int) -> str | None:
        if self._connection.fetch_one(ANY_ACTIVE) is None:
            return NO_RECIPIENTS
        if hold_if_late and self._connection.fetch_one(IS_STALE, event_id=event_id, limit=now - hold_if_late):
            return f"it would have been sent more than {hold_if_late} seconds late"
        return None
