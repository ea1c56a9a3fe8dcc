"""The progress of emails: start them when they are due, count their deliveries, finish and log them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from storage import counters
from storage.audiences.audiences import Audiences, ListOfEmail, Snapshot, why_deleted, why_nobody
from storage.connection import Connection, Row, Statement
from storage.errors import DatabaseBusy, NoSuchEmail

BATCH_SIZE = 200  # emails started, or logged, in one transaction
COUNTING_SECONDS = 0.5  # emails whose audiences are not counted by then are started after the next claim

SELECT_DUE = """
SELECT event_id, audience, recipients_max FROM emails WHERE status = 'scheduled' AND due_at <= :now
ORDER BY due_at LIMIT :limit
"""
ANY_DUE = "SELECT 1 FROM emails WHERE status = 'scheduled' AND due_at <= :now LIMIT 1"
SELECT_DUE_TO_SOME = (
    f"SELECT event_id, audience, recipients_max FROM ({SELECT_DUE}) AS due WHERE audience <> 'everyone'"  # noqa: S608
)
SET_SENDING = "UPDATE emails SET status = 'sending' WHERE event_id = :event_id AND status = 'scheduled'"
SET_HELD = (
    "UPDATE emails SET status = 'held', held_because = :reason WHERE event_id = :event_id AND status = 'scheduled'"
)
HOLD_STARTED = (
    "UPDATE emails SET status = 'held', held_because = :reason WHERE event_id = :event_id AND status = 'sending'"
)
IS_STALE = """
SELECT 1 FROM emails WHERE event_id = :event_id AND due_at < :limit AND created_at < :limit
"""
COUNT_ACTIVE = """
SELECT CAST(SUM(total) AS BIGINT) FROM status_counts WHERE entity = 'recipients' AND status = 'active'
"""
SNAPSHOT_RECIPIENTS = """
INSERT INTO progress (event_id, started_at, last_recipient_id, recipients, audience, joined_until)
SELECT :event_id, :now, MAX(recipient_id), :recipients, :audience, :joined_until FROM recipients WHERE recipient_id > 0
"""
REMAINING = """
SELECT cursor_id, last_recipient_id, audience, joined_until FROM progress WHERE cursor_id < last_recipient_id
"""
SELECT_AUDIENCE = "SELECT audience FROM emails WHERE event_id = :event_id"
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

NO_CHANGE = {"sent": 0, "failed": 0, "unknown": 0, "cancelled": 0}  # for each final status
NO_RECIPIENTS = "there were no active recipients when it was due"
STILL_NO_RECIPIENTS = "there are no active recipients"
MAY_HAVE_BEEN_SENT = "it was restored from a backup, and may already have been sent"


class Progress(NamedTuple):
    """The number of deliveries that an email has so far, and how many of them have each final status."""

    event_id: int
    deliveries: int
    sent: int
    failed: int
    unknown: int
    cancelled: int


class DueEmail(NamedTuple):
    """An email that was due. `held_because` is None if it was started, otherwise why it was put on hold instead."""

    event_id: int
    held_because: str | None


class RecipientRange(NamedTuple):
    """The recipient_ids for which deliveries do not exist yet: greater than `after`, up to `last`."""

    after: int
    last: int
    audience: str  # its kind
    joined_until: int  # who joined a list later gets nothing


class Restored(NamedTuple):
    """The result of `hold_restored` for a restored backup, or for a database that lost commits."""

    made_at: int  # when the backup was made or the commits were lost, in seconds since 1970 UTC
    held: int  # emails put on hold
    lost_commits: int  # at least


class ProgressTable:
    """The progress of all emails of an installation."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._audiences = Audiences(connection)

    def get(self, event_id: int) -> Progress | None:
        """Return the progress of an email, or None if it was never started."""
        row = self._connection.fetch_one(SELECT_PROGRESS, event_id=event_id)
        return None if row is None else Progress(*row)

    def next_due_at(self) -> int | None:
        """Return when the next scheduled email is due, in seconds since 1970 UTC, or None."""
        row = self._connection.fetch_one(NEXT_DUE_AT)
        return None if row is None else row[0]

    def next_due_seconds(self, now: int, limit: int) -> list[int]:
        """Return up to `limit` distinct seconds after `now` at which emails are due, earliest first."""
        return [row[0] for row in self._connection.fetch_all(NEXT_DUE_SECONDS, now=now, limit=limit)]

    def start_due_emails(self, now: int, hold_if_late: int = 0, limit: int = BATCH_SIZE) -> list[DueEmail]:
        """Start up to `limit` due emails. Claims create their deliveries later.

        An email is put on hold instead if nobody active is in its audience, if there are more than its recipients_max,
        if one of its lists was deleted, or if it was due, and POSTed, more than `hold_if_late` seconds ago (0: no
        limit).
        """
        if self._connection.fetch_one(ANY_DUE, now=now) is None:
            return []
        snapshots = self._count_audiences(now, limit)
        with self._connection.transaction():
            sql = f"{SELECT_DUE} {self._connection.for_update_skip_locked}"
            due = self._connection.fetch_all(sql, now=now, limit=limit)
            candidates = (self._candidate(row, snapshots.get(row[0])) for row in due)
            return [self._start(each, now, hold_if_late) for each in candidates if each is not None]

    def mark_as_backup(self, now: int) -> None:
        """Mark this database as a backup, so that its first sweep sends nothing that may already have been sent."""
        with self._connection.transaction():
            self._connection.execute(MARK_AS_BACKUP, now=now)

    def hold_restored(self, now: int) -> Restored | None:
        """If this database is marked as a backup, put its due and partly sent emails on hold, and remove the mark.

        Return what was found, or None if there is no mark.
        """
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
        """Record that deliveries exist up to the recipient `to` (None: the last one), and that `added` are new.

        If `to` is None, finish the email if it is complete.
        """
        self._connection.execute(MOVE_CURSOR, event_id=event_id, to=to, added=added)
        if to is None:
            self.finish_if_complete(event_id, now)

    def remaining_recipients(self, event_id: int) -> RecipientRange | None:
        """Return the recipients whose deliveries do not exist yet, or None. Locks the email's row in `progress`."""
        row = self._connection.fetch_one(
            f"{REMAINING} AND event_id = :event_id {self._connection.for_update}", event_id=event_id
        )
        return None if row is None else RecipientRange(*row)

    def count(self, event_id: int, changes: Mapping[str, int], now: int, sent_at: int | None = None) -> None:
        """Add to the counts of an email, in the transaction that changes its deliveries. Finish it if complete."""
        (result,) = self._connection.execute_pipelined([self.count_statement(event_id, changes, sent_at)])
        if result == [(True,)]:
            self.finish_if_complete(event_id, now)

    @staticmethod
    def count_statement(event_id: int, changes: Mapping[str, int], sent_at: int | None) -> Statement:
        """Return the statement that adds to the counts of an email. Its row says whether the email is now complete."""
        return ADD_COUNTS, {**NO_CHANGE, **changes, "event_id": event_id, "sent_at": sent_at}

    @staticmethod
    def finish_statement(event_id: int, now: int) -> Statement:
        """Return the statement that finishes an email if all its deliveries exist and have a final status."""
        return FINISH_IF_COMPLETE, {"event_id": event_id, "now": now}

    def finish_if_complete(self, event_id: int, now: int) -> None:
        """Finish an email if all its deliveries exist and have a final status. It becomes `sent` unless cancelled."""
        self._connection.execute(FINISH_IF_COMPLETE, event_id=event_id, now=now)

    def lock(self, event_id: int) -> bool:
        """Lock the row of an email in `progress` for this transaction. Return False if the email was not started.

        Counting, creating deliveries and cancelling take this lock. To avoid deadlocks, lock the row in `emails` only
        after this one.
        """
        return (
            self._connection.fetch_one(LOCK_PROGRESS.format(for_update=self._connection.for_update), event_id=event_id)
            is not None
        )

    def email_status(self, event_id: int, *, lock: bool = False) -> str:
        """Return the status of an email. With `lock`, nobody changes it before this transaction ends.

        Raises NoSuchEmail.
        """
        sql = SELECT_EMAIL_STATUS.format(for_update=self._connection.for_update if lock else "")
        row = self._connection.fetch_one(sql, event_id=event_id)
        if row is None:
            raise NoSuchEmail(event_id)
        return str(row[0])

    def snapshot(self, event_id: int) -> Snapshot | None:
        """Count the audience of an email that is not for everyone, for `start_now`. Call this outside a transaction."""
        kind = self._audience_of(event_id)
        return None if kind in (None, "everyone") else self._audiences.count_saved(event_id, str(kind))

    def start_now(self, event_id: int, now: int, snapshot: Snapshot | None) -> str | None:
        """Start an email that was released as `sending`, however large its audience is.

        Return None, or why it must stay on hold. Raises DatabaseBusy if its audience was just changed.
        """
        kind = str(self._audience_of(event_id))
        candidate = self._candidate((event_id, kind, None), snapshot)
        if candidate is None:
            raise DatabaseBusy(f"the audience of email {event_id} has just changed", "release it again")
        reason = candidate.why_unsendable()
        if reason is None:
            self._snapshot(candidate, now)
        return STILL_NO_RECIPIENTS if reason == NO_RECIPIENTS else reason

    def why_stuck(self, event_id: int) -> str | None:
        """Return why an email whose deliveries do not all exist cannot be released: a list was deleted. Or None."""
        return _deleted(self._audiences.lock_lists(event_id))

    def hold_started(self, event_id: int, reason: str) -> bool:
        """Put an email on hold that is being sent. Return False if its status is another one."""
        return self._connection.execute(HOLD_STARTED, event_id=event_id, reason=reason) == 1

    def reopen(self, event_id: int) -> None:
        """Set a finished email back to `sending`, because some of its deliveries are being retried."""
        self._connection.execute(SET_SENDING_AGAIN, event_id=event_id)

    def has_unlogged(self) -> bool:
        """Return whether any sent email has not been logged yet."""
        return self._connection.fetch_one(ANY_UNLOGGED) is not None

    def flush_completion_log(self, write: Callable[[list[int]], None]) -> int:
        """Call `write` with batches of event_ids of sent emails that are not logged yet. Return how many there were.

        Their rows are locked meanwhile, so no line is written twice. If `write` raises, they stay unlogged.
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

    def _count_audiences(self, now: int, limit: int) -> dict[int, Snapshot]:
        """Count the audiences of the due emails that are not for everyone, for up to COUNTING_SECONDS."""
        end = time.monotonic() + COUNTING_SECONDS
        snapshots: dict[int, Snapshot] = {}
        for event_id, kind, most in self._connection.fetch_all(SELECT_DUE_TO_SOME, now=now, limit=limit):
            if not snapshots or time.monotonic() < end:
                snapshots[event_id] = self._audiences.count_saved(event_id, kind, is_limited=most is not None)
        return snapshots

    def _candidate(self, due: Row, snapshot: Snapshot | None) -> _Candidate | None:
        """Return an email that can be started or held, or None if its audience was not counted as it is now."""
        event_id, kind, recipients_max = due
        if kind == "everyone":
            ((count,),) = self._connection.fetch_all(COUNT_ACTIVE)
            return _Candidate(event_id, kind, recipients_max, count or 0, [])
        lists = self._audiences.lock_lists(event_id)
        if snapshot is None or not snapshot.is_of(kind, lists):
            return None
        return _Candidate(event_id, kind, recipients_max, snapshot.recipients, lists)

    def _start(self, email: _Candidate, now: int, hold_if_late: int) -> DueEmail:
        reason = email.why_unsendable() or self._why_late(email.event_id, now, hold_if_late)
        if reason is not None:
            self._connection.execute(SET_HELD, event_id=email.event_id, reason=reason)
        elif self._connection.execute(SET_SENDING, event_id=email.event_id):
            self._snapshot(email, now)
        return DueEmail(email.event_id, reason)

    def _snapshot(self, email: _Candidate, now: int) -> None:
        # A wrong clock may have been ahead when members joined.
        joined_until = max(now, *(each.last_joined_at for each in email.lists)) if email.lists else 0
        values = {"recipients": email.recipients, "audience": email.kind, "joined_until": joined_until}
        self._connection.execute(SNAPSHOT_RECIPIENTS, event_id=email.event_id, now=now, **values)

    def _why_late(self, event_id: int, now: int, hold_if_late: int) -> str | None:
        if hold_if_late and self._connection.fetch_one(IS_STALE, event_id=event_id, limit=now - hold_if_late):
            return f"it would have been sent more than {hold_if_late:,} seconds late (HOLD_IF_LATE)"
        return None

    def _audience_of(self, event_id: int) -> str | None:
        row = self._connection.fetch_one(SELECT_AUDIENCE, event_id=event_id)
        return None if row is None else row[0]


class _Candidate(NamedTuple):
    """An email that is due, with the number of active recipients in its audience."""

    event_id: int
    kind: str
    recipients_max: int | None
    recipients: int
    lists: list[ListOfEmail]

    def why_unsendable(self) -> str | None:
        """Return why the email must be put on hold, or None."""
        if reason := _deleted(self.lists):
            return reason
        if not self.recipients:
            return NO_RECIPIENTS if self.kind == "everyone" else why_nobody(self.kind, self.lists)
        if self.recipients_max is not None and self.recipients > self.recipients_max:
            limit = f"its limit of {self.recipients_max:,} (recipients_max)"
            return f"its audience had {self.recipients:,} recipients when it was due, more than {limit}"
        return None


def _deleted(lists: list[ListOfEmail]) -> str | None:
    return next((why_deleted(each.name, each.excluded) for each in lists if each.deleted_at is not None), None)
