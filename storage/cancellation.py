"""Cancel an email at any time before it is sent, in short transactions, and report exactly what was already in flight.

The first commit cancels the email, so that no more of its deliveries are claimed. Then those that are queued or
claimed are cancelled in batches. Those that are `sending` are in flight: their outcome is recorded, but they are not
retried.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from storage.connection import Connection
from storage.errors import DatabaseBusy, NotCancellable, NotReplaceable
from storage.progress import ProgressTable

BATCH_SIZE = 2_000  # deliveries cancelled in one transaction
LOCK_TIMEOUT_SECONDS = 5.0  # for deliveries that are locked by other transactions
RETRY_SECONDS = 0.01  # between attempts to lock them

CANCEL_UNSTARTED = """
UPDATE emails SET status = 'cancelled', finished_at = :now
WHERE event_id = :event_id AND status IN ('scheduled', 'held')
"""
CANCEL_STARTED = "UPDATE emails SET status = 'cancelled' WHERE event_id = :event_id AND status IN ('sending', 'held')"
SELECT_UNFINISHED = "SELECT event_id FROM emails WHERE status = 'cancelled' AND finished_at IS NULL"
# Senders hold few deliveries at a time. The + 0 keeps the planner from searching all deliveries of the email for them.
# A transaction that has locked the row in `progress` must not wait for a locked delivery, whose holder may be waiting
# for that row.
CANCEL_QUEUED = """
WITH chosen AS MATERIALIZED (
    SELECT event_id, recipient_id FROM deliveries
    WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id LIMIT :limit {for_update_skip_locked})
UPDATE deliveries SET status = 'cancelled', finished_at = :now
WHERE claimed_by IS NULL AND finished_at IS NULL AND (event_id, recipient_id) IN (
    SELECT event_id, recipient_id FROM chosen)
"""
CANCEL_CLAIMED = """
WITH chosen AS MATERIALIZED (
    SELECT event_id, recipient_id FROM deliveries
    WHERE claimed_by IS NOT NULL AND event_id + 0 = :event_id AND status = 'claimed'
    LIMIT :limit {for_update_skip_locked})
UPDATE deliveries SET status = 'cancelled', claimed_by = NULL, finished_at = :now
WHERE claimed_by IS NOT NULL AND status = 'claimed' AND (event_id, recipient_id) IN (
    SELECT event_id, recipient_id FROM chosen)
"""
ANY_QUEUED = """
SELECT 1 FROM deliveries WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id LIMIT 1
"""
ANY_CLAIMED = """
SELECT 1 FROM deliveries WHERE claimed_by IS NOT NULL AND event_id + 0 = :event_id AND status = 'claimed' LIMIT 1
"""
SELECT_COUNTS = """
SELECT p.sent, (SELECT COUNT(*) FROM deliveries d
                WHERE d.claimed_by IS NOT NULL AND d.event_id + 0 = p.event_id AND d.status = 'sending'), p.cancelled
FROM progress p WHERE p.event_id = :event_id
"""


class Cancelled(NamedTuple):
    """How many deliveries of a cancelled email were already sent, are in flight, and have been cancelled.

    Recipients whose deliveries did not exist yet are not counted, but receive nothing either.
    """

    sent: int
    in_flight: int
    cancelled: int


def cancel(connection: Connection, progress: ProgressTable, event_id: int, now: int) -> Cancelled:
    """Cancel an email. Repeating this finishes a cancel that was interrupted.

    Raises NoSuchEmail, NotCancellable if the email was sent, or DatabaseBusy.
    """
    if _cancel_email(connection, progress, event_id, now):
        _cancel_deliveries(connection, progress, event_id, now)
    row = connection.fetch_one(SELECT_COUNTS, event_id=event_id)
    return Cancelled(*row) if row else Cancelled(0, 0, 0)


def withdraw(connection: Connection, progress: ProgressTable, event_id: int, now: int) -> None:
    """Cancel an email that has not been started. Raises NoSuchEmail, or NotReplaceable if it was started or cancelled.

    If it is just starting, either this cancels it, or it is started and this raises NotReplaceable.
    """
    with connection.transaction():
        is_started = progress.lock(event_id)
        status = progress.email_status(event_id, lock=True)
        if is_started or not connection.execute(CANCEL_UNSTARTED, event_id=event_id, now=now):
            raise NotReplaceable(event_id, status)


def unfinished_cancels(connection: Connection) -> list[int]:
    """Return the cancelled emails that still have deliveries queued, claimed or in flight."""
    return [event_id for (event_id,) in connection.fetch_all(SELECT_UNFINISHED)]


def _cancel_email(connection: Connection, progress: ProgressTable, event_id: int, now: int) -> bool:
    """Set the email to `cancelled` and create no more deliveries. Return whether it was started."""
    with connection.transaction():
        is_started = progress.lock(event_id)
        status = progress.email_status(event_id, lock=True)
        if status == "sent":
            raise NotCancellable(event_id, status)
        if not is_started:
            if connection.execute(CANCEL_UNSTARTED, event_id=event_id, now=now) or status == "cancelled":
                return False
            raise DatabaseBusy(f"email {event_id} is just starting", "cancel it again")
        connection.execute(CANCEL_STARTED, event_id=event_id)
        progress.move_cursor(event_id, None, 0, now)
        return True


def _cancel_deliveries(connection: Connection, progress: ProgressTable, event_id: int, now: int) -> None:
    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    while _any_left(connection, event_id):
        if _cancel_some(connection, progress, event_id, now):
            deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
        elif time.monotonic() > deadline:
            raise DatabaseBusy(f"deliveries of email {event_id} are locked by another process", "cancel it again")
        else:
            time.sleep(RETRY_SECONDS)


def _any_left(connection: Connection, event_id: int) -> bool:
    return any(connection.fetch_one(sql, event_id=event_id) is not None for sql in (ANY_QUEUED, ANY_CLAIMED))


def _cancel_some(connection: Connection, progress: ProgressTable, event_id: int, now: int) -> int:
    with connection.transaction():
        progress.lock(event_id)
        count = 0
        for sql in (CANCEL_CLAIMED, CANCEL_QUEUED):
            statement = sql.format(for_update_skip_locked=connection.for_update_skip_locked)
            count += connection.execute(statement, event_id=event_id, now=now, limit=BATCH_SIZE)
        if count:
            progress.count(event_id, {"cancelled": count}, now)
        return count
