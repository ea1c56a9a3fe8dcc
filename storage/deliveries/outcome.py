"""Record what a sender does with deliveries: that a message is about to end, and the outcome of the attempt.

Each change is a conditional UPDATE, and its row count shows whether the sender still held the claim. The theory of
operation is in `storage/deliveries/__init__.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import NamedTuple

from storage.audiences.audiences import HAS_LEFT
from storage.connection import Connection, PendingTransaction, Statement
from storage.deliveries.listing import DeliveryLists
from storage.deliveries.retry import INSERT_ATTEMPT, SELECT_STATUS, Retries
from storage.errors import DatabaseUnavailable
from storage.hourly_stats import HourlyStats
from storage.progress import ProgressTable
from storage.recipients.recipients import Recipients

# Deliveries that an interrupted cancel left queued count too: a sweep finishes the cancel.
NEXT_ATTEMPT_AT = """
SELECT MIN((SELECT d.next_attempt_at FROM deliveries d
            WHERE d.claimed_by IS NULL AND d.finished_at IS NULL AND d.event_id = e.event_id
            ORDER BY d.next_attempt_at LIMIT 1))
FROM (SELECT event_id FROM emails WHERE status = 'sending' UNION ALL
      SELECT event_id FROM emails WHERE status = 'cancelled' AND finished_at IS NULL) AS e
"""
# These two statements run for every message; all others are rare in comparison. SET_SENDING accepts `sending`, because
# a commit is repeated if its reply was lost, but never a delivery that was cancelled or that another sender holds. The
# + 0 keeps PostgreSQL from searching everything that the sender holds for a row.
SET_SENDING = """
UPDATE deliveries SET status = 'sending'
WHERE event_id = ?1 AND recipient_id = ?2 AND claimed_by + 0 = ?3 AND status IN ('claimed', 'sending')
"""
SET_SENT = """
UPDATE deliveries SET status = 'sent', claimed_by = NULL, attempts = attempts + 1, finished_at = ?5, reply = ?4
WHERE event_id = ?1 AND recipient_id = ?2 AND claimed_by + 0 = ?3 AND status = 'sending'
"""
APPLY_UPDATE = """
UPDATE deliveries SET status = :status, claimed_by = NULL, attempts = attempts + 1,
    attempts_in_doubt = attempts_in_doubt + :in_doubt,
    next_attempt_at = COALESCE(:next_attempt_at, next_attempt_at), finished_at = :finished_at, reply = :reply
WHERE event_id = :event_id AND recipient_id = :recipient_id AND claimed_by = :sender_id
    AND status IN ('claimed', 'sending')
"""
SELECT_DELIVERY = """
SELECT event_id, recipient_id, address, attempts, attempts_in_doubt, queued_at FROM deliveries
WHERE event_id = :event_id AND recipient_id = :recipient_id
"""
# A known acceptance is recorded whoever holds the claim now, unless another sender may have sent the message too. Then
# that sender's outcome counts.
SET_SENT_LATE = """
UPDATE deliveries SET status = 'sent', claimed_by = NULL, attempts = attempts + 1, finished_at = :finished_at,
    reply = :reply
WHERE event_id = :event_id AND recipient_id = :recipient_id AND status = :found
"""
SET_CLAIMED_AGAIN = """
UPDATE deliveries SET status = 'claimed'
WHERE event_id = :event_id AND recipient_id = :recipient_id AND claimed_by = :sender_id AND status = 'sending'
"""
RELEASE = """
UPDATE deliveries SET status = 'queued', claimed_by = NULL
WHERE event_id = :event_id AND recipient_id = :recipient_id AND claimed_by = :sender_id
    AND status IN ('claimed', 'sending')
"""
RELEASE_ALL = (
    "UPDATE deliveries SET status = 'queued', claimed_by = NULL WHERE claimed_by = :sender_id AND status = 'claimed'"
)
SELECT_IN_DOUBT = """
SELECT event_id, recipient_id, address, attempts, attempts_in_doubt, queued_at FROM deliveries
WHERE claimed_by = :sender_id AND status = 'sending'
"""
# There is no further attempt for a recipient who has unsubscribed, been removed or left all lists of the email in the
# meantime, nor for anyone once the email is cancelled.
CANCEL_UNWANTED = f"""
UPDATE deliveries SET status = 'cancelled', finished_at = :now
WHERE event_id = :event_id AND recipient_id = :recipient_id AND status = 'queued' AND (
    NOT EXISTS (SELECT 1 FROM recipients r
                WHERE r.recipient_id = deliveries.recipient_id AND r.status = 'active' AND r.removed_at IS NULL)
    OR EXISTS (SELECT 1 FROM emails e WHERE e.event_id = deliveries.event_id AND e.status = 'cancelled')
    OR ({HAS_LEFT.format(delivery="deliveries")}))
"""  # noqa: S608 - statements of our own

DeliveryKey = tuple[int, int]  # event_id, recipient_id

FINAL_STATUSES = ("sent", "failed", "unknown", "cancelled")
_AT_AND_EVENT_ID = itemgetter(4, 0)  # of an Accepted


# Rows for SET_SENDING and SET_SENT. They are plain tuples, because creating named tuples and binding them to the
# placeholders would take a tenth of the time of each message.
SendIntent = tuple[int, int, int]  # event_id, recipient_id, sender_id: a message that is about to be sent
Accepted = tuple[int, int, int, str, int]  # the same, reply, at: a message that a server accepted


class Delivery(NamedTuple):
    """One email to one recipient, as it was before an attempt."""

    event_id: int
    recipient_id: int
    address: str
    attempts: int  # so far
    attempts_in_doubt: int
    queued_at: int  # when it was created or last retried manually, in seconds since 1970 UTC


class DeliveryUpdate(NamedTuple):
    """The outcome of an attempt, and the delivery's new status: sent, failed, unknown, or queued for a retry."""

    event_id: int
    recipient_id: int
    outcome: str  # sent, deferred, failed, in_doubt
    status: str
    reply: str
    at: int
    next_attempt_at: int | None = None
    hard_bounce: bool = False  # the server said that the mailbox does not exist


class ClaimLost(Exception):
    """The sender no longer holds a delivery of a batch. The batch is rolled back, and recorded one by one."""


class Deliveries(DeliveryLists, Retries):
    """All deliveries of an installation. The base classes list and retry them."""

    def __init__(self, connection: Connection, progress: ProgressTable, recipients: Recipients) -> None:
        self._connection = connection
        self._hours = HourlyStats(connection)
        self._progress = progress
        self._recipients = recipients

    def next_attempt_at(self) -> int | None:
        """Return when the next queued delivery of any email is due, in seconds since 1970 UTC, or None."""
        row = self._connection.fetch_one(NEXT_ATTEMPT_AT)
        return None if row is None else row[0]

    def get(self, key: DeliveryKey) -> Delivery:
        """Return the delivery with this key, which must exist."""
        (row,) = self._connection.fetch_all(SELECT_DELIVERY, event_id=key[0], recipient_id=key[1])
        return Delivery(*row)

    def record(
        self,
        sender_id: int,
        accepted: Sequence[Accepted],
        updates: Sequence[DeliveryUpdate],
        intents: Sequence[SendIntent],
    ) -> Sequence[SendIntent]:
        """In one commit, record accepted messages, the outcomes of others, and messages that are about to end.

        Return those of `intents` whose claim still holds. The others must not be sent.
        """
        try:
            with self._connection.transaction():
                for update in updates:
                    self._apply_held(sender_id, update)
                self._record_messages(accepted, intents)
                return intents
        except ClaimLost:
            with self._connection.transaction():
                self.apply_each(sender_id, [*map(_as_update, accepted), *updates])
                return [intent for intent in intents if self._connection.executemany(SET_SENDING, [intent]) == 1]

    @property
    def can_submit(self) -> bool:
        """Whether this engine supports `submit_record`. A sender checks this before it prepares the arguments."""
        return self._connection.submit_transaction is not None

    def submit_record(self, accepted: Sequence[Accepted], intents: Sequence[SendIntent]) -> PendingTransaction | None:
        """Start `record` without waiting for the commit.

        If this returns None, or the transaction was not certainly committed, call `record` with the same arguments.
        """
        submit = self._connection.submit_transaction
        try:
            return submit(self._message_statements(accepted, intents)) if submit else None
        except DatabaseUnavailable:
            return None  # `record` raises it

    def apply_each(self, sender_id: int, updates: Sequence[DeliveryUpdate]) -> None:
        """Apply updates one by one in the open transaction, except where the sender no longer holds the claim."""
        for update in updates:
            if self._apply(sender_id, update) or self._record_late_acceptance(update):
                self._account(update)

    def record_refused(self, sender_id: int, keys: Collection[DeliveryKey]) -> None:
        """Record that messages were refused, with their outcome still undecided: back to `claimed`, not in doubt."""
        with self._connection.transaction():
            for event_id, recipient_id in keys:
                self._connection.execute(
                    SET_CLAIMED_AGAIN, event_id=event_id, recipient_id=recipient_id, sender_id=sender_id
                )

    def release(self, sender_id: int, keys: Collection[DeliveryKey], now: int) -> None:
        """Queue deliveries again that were claimed, and of which it is certain that they were not sent.

        No attempt is counted.
        """
        with self._connection.transaction():
            for event_id, recipient_id in keys:
                self._connection.execute(RELEASE, event_id=event_id, recipient_id=recipient_id, sender_id=sender_id)
                self._cancel_unwanted((event_id, recipient_id), now)

    def release_all(self, sender_id: int) -> list[Delivery]:
        """Queue all claimed deliveries of a sender again. Return those that it left in doubt, which need an update."""
        self._connection.execute(RELEASE_ALL, sender_id=sender_id)
        return [Delivery(*row) for row in self._connection.fetch_all(SELECT_IN_DOUBT, sender_id=sender_id)]

    def _apply_held(self, sender_id: int, update: DeliveryUpdate) -> None:
        if not self._apply(sender_id, update):
            raise ClaimLost
        self._account(update)

    def _record_messages(self, accepted: Sequence[Accepted], intents: Sequence[SendIntent]) -> None:
        statements = self._message_statements(accepted, intents)
        expected = [len(rows) for rows in (accepted, intents) if rows]
        if self._connection.execute_pipelined(statements)[: len(expected)] != expected:
            raise ClaimLost

    def _message_statements(self, accepted: Sequence[Accepted], intents: Sequence[SendIntent]) -> list[Statement]:
        """Return the statements that record these messages. Emails with a message in `intents` cannot finish yet."""
        statements: list[Statement] = [
            (sql, rows) for sql, rows in ((SET_SENT, accepted), (SET_SENDING, intents)) if rows
        ]
        counted = Counter(map(_AT_AND_EVENT_ID, accepted))
        for (at, event_id), count in counted.items():
            statements.append(self._progress.count_statement(event_id, {"sent": count}, at))
            statements.append(self._hours.count_statement("sent", event_id, at, count))
        under_way = {event_id for event_id, _, _ in intents}
        last = {event_id: at for at, event_id in counted}
        return statements + [
            self._progress.finish_statement(event_id, at) for event_id, at in last.items() if event_id not in under_way
        ]

    def _account(self, update: DeliveryUpdate) -> None:
        """Count the outcome of an applied update, and record the attempt if it was unsuccessful."""
        self._count(update.outcome, update.status, update.event_id, update.at)
        if update.outcome != "sent":
            self._insert_attempt(update)
        if update.outcome == "deferred":
            self._hours.count_deferral(update.reply)
        if update.hard_bounce:
            self._recipients.record_hard_bounce(update.recipient_id, update.event_id, update.at)

    def _count(self, outcome: str, status: str, event_id: int, at: int) -> None:
        if status != "queued":
            self._progress.count(event_id, {status: 1}, at, at if status == "sent" else None)
        self._connection.execute_pipelined([self._hours.count_statement(outcome, event_id, at)])

    def _apply(self, sender_id: int, update: DeliveryUpdate) -> bool:
        """Apply an update. Return False, and change nothing, if the sender no longer holds the claim."""
        changed = self._connection.execute(
            APPLY_UPDATE,
            event_id=update.event_id,
            recipient_id=update.recipient_id,
            sender_id=sender_id,
            status=update.status,
            in_doubt=int(update.outcome == "in_doubt"),
            next_attempt_at=update.next_attempt_at,
            finished_at=None if update.status == "queued" else update.at,
            reply=update.reply,
        )
        if changed and update.status == "queued":
            self._cancel_unwanted(update[:2], update.at)
        return changed == 1

    def _cancel_unwanted(self, key: DeliveryKey, now: int) -> None:
        self._progress.lock(key[0])  # either a concurrent cancel sees the queued delivery, or this sees the cancel
        if self._connection.execute(CANCEL_UNWANTED, event_id=key[0], recipient_id=key[1], now=now):
            self._progress.count(key[0], {"cancelled": 1}, now)

    def _record_late_acceptance(self, update: DeliveryUpdate) -> bool:
        """Record an acceptance although the claim was lost. Return whether it was recorded."""
        if update.status != "sent":
            return False
        key = {"event_id": update.event_id, "recipient_id": update.recipient_id}
        row = self._connection.fetch_one(SELECT_STATUS, **key)
        if row is None or row[0] in ("sending", "sent"):
            return False
        self._connection.execute(SET_SENT_LATE, **key, found=row[0], finished_at=update.at, reply=update.reply)
        if row[0] in FINAL_STATUSES:
            self._progress.count(update.event_id, {row[0]: -1}, update.at)
        return True

    def _insert_attempt(self, update: DeliveryUpdate) -> None:
        self._connection.execute(
            INSERT_ATTEMPT,
            event_id=update.event_id,
            recipient_id=update.recipient_id,
            at=update.at,
            outcome=update.outcome,
            reply=update.reply,
        )


def _as_update(accepted: Accepted) -> DeliveryUpdate:
    event_id, recipient_id, _, reply, at = accepted
    return DeliveryUpdate(event_id, recipient_id, "sent", "sent", reply, at)
