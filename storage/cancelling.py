"""Cancelling an email: up to the last moment, in short transactions, with the truth about what is on its way.

The first commit stops the email: nothing of it is claimed any more. Then what is in line, and what senders have
claimed, is cancelled bit by bit. What is `sending` is in flight: it settles as always, but is not tried again.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from storage.connection import Connection
from storage.errors import DatabaseBusy, NoSuchEmail, NotCancellable
from storage.progress import ProgressTable

CHUNK = 2_000  # deliveries cancelled in one transaction
PATIENCE = 5.0  # seconds for which deliveries that others have locked are waited for
NAP = 0.01

STATUS = "SELECT status FROM emails WHERE event_id = :event_id"
NEVER_BEGUN = (
    "UPDATE emails SET status = 'cancelled', finished_at = :now WHERE event_id = :event_id AND status = :found"
)
STOP = "UPDATE emails SET status = 'cancelled' WHERE event_id = :event_id AND status = :found"
# Who holds the progress never waits for a delivery that another has locked: that one may wait for the progress.
CANCEL_IN_LINE = """
UPDATE deliveries SET status = 'cancelled', finished_at = :now
WHERE claimed_by IS NULL AND finished_at IS NULL AND (event_id, recipient_id) IN (
    SELECT event_id, recipient_id FROM deliveries
    WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id
    LIMIT :limit {claim_lock})
"""
CANCEL_CLAIMED = """
UPDATE deliveries SET status = 'cancelled', claimed_by = NULL, finished_at = :now
WHERE claimed_by IS NOT NULL AND status = 'claimed' AND (event_id, recipient_id) IN (
    SELECT event_id, recipient_id FROM deliveries
    WHERE claimed_by IS NOT NULL AND event_id = :event_id AND status = 'claimed'
    LIMIT :limit {claim_lock})
"""
IN_LINE = """
SELECT 1 FROM deliveries WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id LIMIT 1
"""
CLAIMED = """
SELECT 1 FROM deliveries WHERE claimed_by IS NOT NULL AND event_id = :event_id AND status = 'claimed' LIMIT 1
"""
# Of what senders hold there is little.
NUMBERS = """
SELECT p.sent, (SELECT COUNT(*) FROM deliveries d
                WHERE d.claimed_by IS NOT NULL AND d.event_id = p.event_id AND d.status = 'sending'), p.cancelled
FROM progress p WHERE p.event_id = :event_id
"""


class Cancelled(NamedTuple):
    """How many deliveries of a cancelled email were sent already, are on their way, and are cancelled.

    Recipients whose deliveries were not made yet are not counted: they get nothing either.
    """

    sent: int
    in_flight: int
    cancelled: int


def cancel(connection: Connection, progress: ProgressTable, event_id: int, now: int) -> Cancelled:
    """Cancel an email; doing it again finishes what was broken off."""
    with connection.transaction():
        begun = progress.lock(event_id)
        _stop(connection, event_id, begun, now)
        if begun:
            progress.move_cursor(event_id, None, 0, now)
    if begun:
        _cancel_deliveries(connection, progress, event_id, now)
    row = connection.row(NUMBERS, event_id=event_id)
    return Cancelled(*row) if row else Cancelled(0, 0, 0)


def _stop(connection: Connection, event_id: int, begun: bool, now: int) -> None:
    """Conditional on the status that was found: a sweep that began the email just now is asked again."""
    row = connection.row(f"{STATUS} {connection.row_lock}", event_id=event_id)
    if row is None:
        raise NoSuchEmail(event_id)
    (status,) = row
    if status == "sent":
        raise NotCancellable(event_id, status)
    if status == "cancelled":
        return
    if begun:
        connection.run(STOP, event_id=event_id, found=status)
    elif status == "sending":  # begun between the two looks
        raise DatabaseBusy(f"email {event_id} is being begun", "try again in a moment")
    else:
        connection.run(NEVER_BEGUN, event_id=event_id, found=status, now=now)


def _cancel_deliveries(connection: Connection, progress: ProgressTable, event_id: int, now: int) -> None:
    deadline = time.monotonic() + PATIENCE
    while _is_left(connection, event_id):
        if _cancel_some(connection, progress, event_id, now):
            deadline = time.monotonic() + PATIENCE
        elif time.monotonic() > deadline:
            raise DatabaseBusy(f"another process keeps deliveries of email {event_id} locked", "cancel it again")
        else:
            time.sleep(NAP)


def _is_left(connection: Connection, event_id: int) -> bool:
    return any(connection.row(sql, event_id=event_id) is not None for sql in (IN_LINE, CLAIMED))


def _cancel_some(connection: Connection, progress: ProgressTable, event_id: int, now: int) -> int:
    with connection.transaction():
        progress.lock(event_id)
        count = 0
        for sql in (CANCEL_CLAIMED, CANCEL_IN_LINE):
            statement = sql.format(claim_lock=connection.claim_lock)
            count += connection.run(statement, event_id=event_id, now=now, limit=CHUNK)
        if count:
            progress.count(event_id, {"cancelled": count}, now)
        return count
