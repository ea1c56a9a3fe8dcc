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
NEVER_BEGUN = """
UPDATE emails SET status = 'cancelled', finished_at = :now
WHERE event_id = :event_id AND status IN ('scheduled', 'held')
"""
STOP = "UPDATE emails SET status = 'cancelled' WHERE event_id = :event_id AND status IN ('sending', 'held')"
UNFINISHED = "SELECT event_id FROM emails WHERE status = 'cancelled' AND finished_at IS NULL"
# What senders hold of all emails is little; the + 0 keeps databases from looking for it among all that an email has.
# Who holds the progress never waits for a delivery that another has locked: that one may wait for the progress.
CANCEL_IN_LINE = """
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
IN_LINE = """
SELECT 1 FROM deliveries WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id LIMIT 1
"""
CLAIMED = """
SELECT 1 FROM deliveries WHERE claimed_by IS NOT NULL AND event_id + 0 = :event_id AND status = 'claimed' LIMIT 1
"""
NUMBERS = """
SELECT p.sent, (SELECT COUNT(*) FROM deliveries d
                WHERE d.claimed_by IS NOT NULL AND d.event_id + 0 = p.event_id AND d.status = 'sending'), p.cancelled
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
    if _stop(connection, progress, event_id, now):
        _cancel_deliveries(connection, progress, event_id, now)
    row = connection.fetch_one(NUMBERS, event_id=event_id)
    return Cancelled(*row) if row else Cancelled(0, 0, 0)


def cancelling(connection: Connection) -> list[int]:
    """The cancelled emails that still have deliveries in line or in flight."""
    return [event_id for (event_id,) in connection.fetch_all(UNFINISHED)]


def _stop(connection: Connection, progress: ProgressTable, event_id: int, now: int) -> bool:
    """Make the email `cancelled`, with no more deliveries to come; whether it was begun."""
    with connection.transaction():
        begun = progress.lock(event_id)
        status = _status(connection, event_id)
        if status == "sent":
            raise NotCancellable(event_id, status)
        if not begun:
            if connection.execute(NEVER_BEGUN, event_id=event_id, now=now) or status == "cancelled":
                return False
            raise DatabaseBusy(f"email {event_id} is being begun just now", "cancel it again")
        connection.execute(STOP, event_id=event_id)
        progress.move_cursor(event_id, None, 0, now)
        return True


def _status(connection: Connection, event_id: int) -> str:
    row = connection.fetch_one(f"{STATUS} {connection.for_update}", event_id=event_id)
    if row is None:
        raise NoSuchEmail(event_id)
    return str(row[0])


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
    return any(connection.fetch_one(sql, event_id=event_id) is not None for sql in (IN_LINE, CLAIMED))


def _cancel_some(connection: Connection, progress: ProgressTable, event_id: int, now: int) -> int:
    with connection.transaction():
        progress.lock(event_id)
        count = 0
        for sql in (CANCEL_CLAIMED, CANCEL_IN_LINE):
            statement = sql.format(for_update_skip_locked=connection.for_update_skip_locked)
            count += connection.execute(statement, event_id=event_id, now=now, limit=CHUNK)
        if count:
            progress.count(event_id, {"cancelled": count}, now)
        return count
