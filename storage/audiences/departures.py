"""Cancel the unsent deliveries of recipients who are no longer on any list that an email goes to.

A delivery that exists is cancelled only if its recipient leaves, or is removed from, all included lists of its email.
A recipient who is added to an excluded list still gets a message that was claimed before.

On PostgreSQL, a claim that runs at the same time may still see the old members, and its deliveries cannot be seen until
it ends. So once the members have changed, `wait_for_claims` waits for it, and the caller cancels again. A transaction
that has locked the row in `progress` must not wait for a locked delivery, whose holder may be waiting for that row.
Therefore these are two transactions.
"""

from __future__ import annotations

from collections.abc import Iterable

from storage.audiences.audiences import IN_AUDIENCE, why_deleted
from storage.connection import Connection
from storage.progress import ProgressTable

SELECT_STARTED = """
SELECT e.event_id FROM emails e CROSS JOIN audiences a CROSS JOIN progress p
WHERE e.status IN ('sending', 'held') AND a.event_id = e.event_id AND a.list_id = :list_id AND a.excluded = 0
    AND p.event_id = e.event_id
"""
SELECT_SENDING = """
SELECT e.event_id, a.excluded FROM emails e CROSS JOIN audiences a
WHERE e.status = 'sending' AND a.event_id = e.event_id AND a.list_id = :list_id
"""
CANCEL = "UPDATE deliveries SET status = 'cancelled', claimed_by = NULL, finished_at = :now"
NOT_IN_AUDIENCE = f"AND NOT {IN_AUDIENCE.format(delivery='deliveries')}"
CANCEL_ONE = f"""
{CANCEL} WHERE event_id = :event_id AND recipient_id = :recipient_id AND status IN ('queued', 'claimed')
{NOT_IN_AUDIENCE}
"""
CANCEL_QUEUED = f"""
{CANCEL} WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id
{NOT_IN_AUDIENCE}
"""
# The + 0 keeps the planner from searching all deliveries of the email for the few that are claimed.
CANCEL_CLAIMED = f"""
{CANCEL} WHERE claimed_by IS NOT NULL AND event_id + 0 = :event_id AND status = 'claimed'
{NOT_IN_AUDIENCE}
"""


def started_emails(connection: Connection, list_ids: Iterable[int]) -> list[int]:
    """Return the event_ids of started and unfinished emails that go to any of these lists."""
    found = (connection.fetch_all(SELECT_STARTED, list_id=list_id) for list_id in list_ids)
    return sorted({event_id for rows in found for (event_id,) in rows})


def cancel(
    connection: Connection, progress: ProgressTable, event_ids: Iterable[int], now: int, recipient_id: int | None = None
) -> None:
    """Within the open transaction, cancel what is unsent to this recipient, or to everyone who is not on the lists."""
    statements = (CANCEL_QUEUED, CANCEL_CLAIMED) if recipient_id is None else (CANCEL_ONE,)
    counts: dict[int, int] = {}
    for event_id in event_ids:
        values = {"event_id": event_id, "recipient_id": recipient_id, "now": now}
        counts[event_id] = sum(connection.execute(sql, **values) for sql in statements)
    for event_id, count in sorted(counts.items()):  # afterwards, as senders lock deliveries before `progress`
        if count:
            progress.count(event_id, {"cancelled": count}, now)


def hold_started(
    connection: Connection, progress: ProgressTable, list_id: int, name: str, event_ids: Iterable[int], now: int
) -> None:
    """Within the transaction that deletes a list, stop the emails that are being sent to it or exclude it."""
    cancel(connection, progress, event_ids, now)
    for event_id, excluded in sorted(connection.fetch_all(SELECT_SENDING, list_id=list_id)):
        if progress.remaining_recipients(event_id) is not None:
            progress.hold_started(event_id, why_deleted(name, bool(excluded)))


def cancel_again(
    connection: Connection, progress: ProgressTable, event_ids: Iterable[int], now: int, recipient_id: int | None = None
) -> None:
    """After the transaction that changed the members, cancel what was claimed at the same time."""
    if not connection.for_update:
        return  # there is one writer at a time
    for event_id in event_ids:
        wait_for_claims(connection, progress, event_id)
        with connection.transaction():
            cancel(connection, progress, [event_id], now, recipient_id)


def wait_for_claims(connection: Connection, progress: ProgressTable, event_id: int) -> None:
    """Wait until no transaction that began before is creating deliveries of this email."""
    with connection.transaction():
        progress.lock(event_id)
