"""Deliveries as a sender changes them: `sending`, then settled. Each change is a conditional UPDATE.

Its row count tells whether the delivery was still this sender's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import NamedTuple

from storage.connection import Connection, PendingTransaction, Statement
from storage.deliveries.listing import DeliveryLists
from storage.deliveries.retry import Retries
from storage.errors import DatabaseUnavailable
from storage.hours import Hours
from storage.progress import ProgressTable
from storage.recipients import Recipients

# What a broken off cancel has left in line is work for a sweep, too: it cancels that.
NEXT_ATTEMPT = """
SELECT MIN((SELECT d.next_attempt_at FROM deliveries d
            WHERE d.claimed_by IS NULL AND d.finished_at IS NULL AND d.event_id = e.event_id
            ORDER BY d.next_attempt_at LIMIT 1))
FROM (SELECT event_id FROM emails WHERE status = 'sending' UNION ALL
      SELECT event_id FROM emails WHERE status = 'cancelled' AND finished_at IS NULL) AS e
"""
# The two statements of every message; all others are rare beside them. Ending twice is for a commit that is
# repeated because its answer was lost; cancelled, or another sender's, is neither. The + 0 keeps PostgreSQL from
# looking for a row among all that a sender holds.
END = """
UPDATE deliveries SET status = 'sending'
WHERE event_id = ? AND recipient_id = ? AND claimed_by + 0 = ? AND status IN ('claimed', 'sending')
"""
SENT = """
UPDATE deliveries SET status = 'sent', claimed_by = NULL, attempts = attempts + 1, finished_at = ?, reply = ?
WHERE event_id = ? AND recipient_id = ? AND claimed_by + 0 = ? AND status = 'sending'
"""
SETTLE = """
UPDATE deliveries SET status = :status, claimed_by = NULL, attempts = attempts + 1, doubts = doubts + :doubt,
    next_attempt_at = COALESCE(:next_attempt_at, next_attempt_at), finished_at = :finished_at, reply = :reply
WHERE event_id = :event_id AND recipient_id = :recipient_id AND claimed_by = :sender_id
    AND status IN ('claimed', 'sending')
"""
READ = """
SELECT event_id, recipient_id, address, attempts, doubts, queued_at FROM deliveries
WHERE event_id = :event_id AND recipient_id = :recipient_id
"""
STATUS = "SELECT status FROM deliveries WHERE event_id = :event_id AND recipient_id = :recipient_id"
# An acceptance that is known is never forgotten, whoever holds the claim now; only another sender that may have
# ended the message itself keeps its own verdict.
ACCEPTED_LATE = """
UPDATE deliveries SET status = 'sent', claimed_by = NULL, attempts = attempts + 1, finished_at = :finished_at,
    reply = :reply
WHERE event_id = :event_id AND recipient_id = :recipient_id AND status = :found
"""
ATTEMPT = """
INSERT INTO attempts (event_id, recipient_id, attempted_at, outcome, reply)
VALUES (:event_id, :recipient_id, :at, :outcome, :reply)
"""
GIVE_BACK = """
UPDATE deliveries SET status = 'queued', claimed_by = NULL
WHERE event_id = :event_id AND recipient_id = :recipient_id AND claimed_by = :sender_id
    AND status IN ('claimed', 'sending')
"""
RELEASE = (
    "UPDATE deliveries SET status = 'queued', claimed_by = NULL WHERE claimed_by = :sender_id AND status = 'claimed'"
)
IN_DOUBT = """
SELECT event_id, recipient_id, address, attempts, doubts, queued_at FROM deliveries
WHERE claimed_by = :sender_id AND status = 'sending'
"""
# Who left while the message was under way gets no other try; nor does anybody if the email was cancelled.
CANCEL_UNWANTED = """
UPDATE deliveries SET status = 'cancelled', finished_at = :now
WHERE event_id = :event_id AND recipient_id = :recipient_id AND status = 'queued' AND (
    NOT EXISTS (SELECT 1 FROM recipients r
                WHERE r.recipient_id = deliveries.recipient_id AND r.status = 'active' AND r.removed_at IS NULL)
    OR EXISTS (SELECT 1 FROM emails e WHERE e.event_id = deliveries.event_id AND e.status = 'cancelled'))
"""

Key = tuple[int, int]  # event_id, recipient_id
# The two that every message goes through, ten thousands a second, are plain tuples as their statements take them.
Ending = tuple[int, int, int]  # event_id, recipient_id, sender_id
Sent = tuple[int, str, int, int, int]  # at, reply, event_id, recipient_id, sender_id

FINAL = ("sent", "failed", "unknown", "cancelled")
_AT_AND_EVENT_ID = itemgetter(0, 2)


class Delivery(NamedTuple):
    """One email to one recipient, as it is claimed."""

    event_id: int
    recipient_id: int
    address: str
    attempts: int  # that have ended before this one
    doubts: int
    queued_at: int  # when it was put in line, seconds since 1970 UTC


class Settlement(NamedTuple):
    """What one attempt makes of a delivery: `status` is sent, failed, unknown, or queued for another attempt."""

    event_id: int
    recipient_id: int
    outcome: str  # sent, deferred, failed, in_doubt
    status: str
    at: int
    reply: str
    next_attempt_at: int | None = None
    no_mailbox: bool = False  # the server said that there is no such mailbox


class ClaimLost(Exception):
    """Something in a batch is no longer this sender's: the batch is rolled back, and done one by one."""


class Deliveries(DeliveryLists, Retries):
    """All deliveries of an installation. What a sender does is here; lists and retries are in the base classes."""

    def __init__(self, connection: Connection, progress: ProgressTable, recipients: Recipients) -> None:
        self._connection = connection
        self._hours = Hours(connection)
        self._progress = progress
        self._recipients = recipients

    def next_attempt_at(self) -> int | None:
        """When the next queued delivery of any email that is being sent may be tried."""
        row = self._connection.fetch_one(NEXT_ATTEMPT)
        return None if row is None else row[0]

    def get(self, key: Key) -> Delivery:
        """The delivery of this key, which exists."""
        (row,) = self._connection.fetch_all(READ, event_id=key[0], recipient_id=key[1])
        return Delivery(*row)

    def record(
        self, sender_id: int, sent: Sequence[Sent], others: Sequence[Settlement], ending: Sequence[Ending]
    ) -> Sequence[Ending]:
        """Settle what was answered and make `ending` `sending`, in one commit.

        Returns those of `ending` whose claim still holds.
        """
        try:
            with self._connection.transaction():
                for settlement in others:
                    self._settle_held(sender_id, settlement)
                self._sent_and_ending(sent, ending)
                return ending
        except ClaimLost:
            with self._connection.transaction():
                self.settle_each(sender_id, [*map(_as_settlement, sent), *others])
                return [one for one in ending if self._connection.executemany(END, [one]) == 1]

    @property
    def can_begin(self) -> bool:
        """Whether `begin_record` can do anything here: each round of a sender asks, before it prepares for that."""
        return self._connection.submit_transaction is not None

    def begin_record(self, sent: Sequence[Sent], ending: Sequence[Ending]) -> PendingTransaction | None:
        """Begin what `record` does. None, or not done in the end: it is not known to be recorded; use `record`."""
        begin = self._connection.submit_transaction
        try:
            return begin(self._of_every_message(sent, ending)) if begin else None
        except DatabaseUnavailable:
            return None  # `record` says why

    def settle_each(self, sender_id: int, settlements: Sequence[Settlement]) -> None:
        """Settle one by one, in the transaction that is open; what is no longer this sender's may be left as it is."""
        for settlement in settlements:
            if self._settle(sender_id, settlement) or self._accept_late(settlement):
                self._account(settlement)

    def give_back(self, sender_id: int, keys: Collection[Key], now: int) -> None:
        """Put deliveries that were surely not ended back in line; no attempt is counted."""
        with self._connection.transaction():
            for event_id, recipient_id in keys:
                self._connection.execute(GIVE_BACK, event_id=event_id, recipient_id=recipient_id, sender_id=sender_id)
                self._cancel_unwanted((event_id, recipient_id), now)

    def release(self, sender_id: int) -> list[Delivery]:
        """Put back in line all that a sender holds; returns those it left in doubt, which are to be settled."""
        self._connection.execute(RELEASE, sender_id=sender_id)
        return [Delivery(*row) for row in self._connection.fetch_all(IN_DOUBT, sender_id=sender_id)]

    def _settle_held(self, sender_id: int, settlement: Settlement) -> None:
        if not self._settle(sender_id, settlement):
            raise ClaimLost
        self._account(settlement)

    def _sent_and_ending(self, sent: Sequence[Sent], ending: Sequence[Ending]) -> None:
        """What every message goes through, all at once."""
        statements = self._of_every_message(sent, ending)
        expected = [len(rows) for rows in (sent, ending) if rows]
        if self._connection.execute_pipelined(statements)[: len(expected)] != expected:
            raise ClaimLost

    def _of_every_message(self, sent: Sequence[Sent], ending: Sequence[Ending]) -> list[Statement]:
        """An email of which a message is about to end is not complete: it need not be asked about."""
        statements: list[Statement] = [(sql, rows) for sql, rows in ((SENT, sent), (END, ending)) if rows]
        counted = Counter(map(_AT_AND_EVENT_ID, sent))
        for (at, event_id), count in counted.items():
            statements.append(self._progress.counting(event_id, {"sent": count}, at))
            statements.append(self._hours.counting("sent", event_id, at, count))
        under_way = {event_id for event_id, _, _ in ending}
        last = {event_id: at for at, event_id in counted}
        return statements + [
            self._progress.finishing(event_id, at) for event_id, at in last.items() if event_id not in under_way
        ]

    def _account(self, settlement: Settlement) -> None:
        """Count what was settled, and note a try that did not succeed."""
        self._count(settlement.outcome, settlement.status, settlement.event_id, settlement.at)
        if settlement.outcome != "sent":
            self._note_attempt(settlement)
        if settlement.outcome == "deferred":
            self._hours.count_deferral(settlement.reply)
        if settlement.no_mailbox:
            self._recipients.note_no_mailbox(settlement.recipient_id, settlement.event_id, settlement.at)

    def _count(self, outcome: str, status: str, event_id: int, at: int) -> None:
        """Count for the email, and for the hour."""
        if status != "queued":
            self._progress.count(event_id, {status: 1}, at, at if status == "sent" else None)
        self._connection.execute_pipelined([self._hours.counting(outcome, event_id, at)])

    def _settle(self, sender_id: int, settlement: Settlement) -> bool:
        changed = self._connection.execute(
            SETTLE,
            event_id=settlement.event_id,
            recipient_id=settlement.recipient_id,
            sender_id=sender_id,
            status=settlement.status,
            doubt=int(settlement.outcome == "in_doubt"),
            next_attempt_at=settlement.next_attempt_at,
            finished_at=None if settlement.status == "queued" else settlement.at,
            reply=settlement.reply,
        )
        if changed and settlement.status == "queued":
            self._cancel_unwanted(settlement[:2], settlement.at)
        return changed == 1

    def _cancel_unwanted(self, key: Key, now: int) -> None:
        self._progress.lock(key[0])  # either a cancel sees that this one is queued, or this sees the cancel
        if self._connection.execute(CANCEL_UNWANTED, event_id=key[0], recipient_id=key[1], now=now):
            self._progress.count(key[0], {"cancelled": 1}, now)

    def _accept_late(self, settlement: Settlement) -> bool:
        """Record an acceptance although the claim was lost."""
        if settlement.status != "sent":
            return False
        key = {"event_id": settlement.event_id, "recipient_id": settlement.recipient_id}
        row = self._connection.fetch_one(STATUS, **key)
        if row is None or row[0] in ("sending", "sent"):
            return False
        self._connection.execute(ACCEPTED_LATE, **key, found=row[0], finished_at=settlement.at, reply=settlement.reply)
        if row[0] in FINAL:
            self._progress.count(settlement.event_id, {row[0]: -1}, settlement.at)
        return True

    def _note_attempt(self, settlement: Settlement) -> None:
        self._connection.execute(
            ATTEMPT,
            event_id=settlement.event_id,
            recipient_id=settlement.recipient_id,
            at=settlement.at,
            outcome=settlement.outcome,
            reply=settlement.reply,
        )


def _as_settlement(sent: Sent) -> Settlement:
    at, reply, event_id, recipient_id, _ = sent
    return Settlement(event_id, recipient_id, "sent", "sent", at, reply)
