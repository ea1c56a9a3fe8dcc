"""Undoing an import: those whom it added are removed, bit by bit, unless they are not active or were sent something."""

from __future__ import annotations

from collections import Counter

from storage.connection import Connection
from storage.progress import ProgressTable

CHUNK = 200  # recipients looked at in one transaction

HOLD = "SELECT before_id, last_id, position FROM imports WHERE import_id = :import_id AND status = 'undoing'"
CHUNK_OF = """
SELECT MAX(recipient_id), COUNT(*) FROM (
    SELECT recipient_id FROM recipients
    WHERE recipient_id > :after AND recipient_id <= :last AND removed_at IS NULL
    ORDER BY recipient_id LIMIT :most) AS chunk
"""
# Of an email whose deliveries were pruned it is not known any more who got it.
REMOVE = """
DELETE FROM recipients
WHERE recipient_id > :after AND recipient_id <= :until AND status = 'active' AND removed_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM progress p JOIN emails e ON e.event_id = p.event_id
    LEFT JOIN deliveries d ON d.event_id = p.event_id AND d.recipient_id = recipients.recipient_id
    WHERE p.last_recipient_id > :before AND (
        d.status IN ('sending', 'sent', 'failed', 'unknown')
        OR (e.content_digest IS NOT NULL AND p.cursor_id >= recipients.recipient_id)))
"""
CANCEL = """
UPDATE deliveries SET status = 'cancelled', claimed_by = NULL, finished_at = :now
WHERE event_id IN (SELECT event_id FROM progress WHERE last_recipient_id > :before)
    AND recipient_id > :after AND recipient_id <= :until AND status IN ('queued', 'claimed')
    AND NOT EXISTS (SELECT 1 FROM recipients r WHERE r.recipient_id = deliveries.recipient_id)
RETURNING event_id
"""
COUNT = """
UPDATE imports SET position = :until - before_id, removed = removed + :removed, kept = kept + :kept, heartbeat_at = :now
WHERE import_id = :import_id
"""
UNDONE = """
UPDATE imports SET status = 'undone', position = last_id - before_id, finished_at = :now WHERE import_id = :import_id
"""


def undo_some(connection: Connection, progress: ProgressTable, import_id: int, now: int) -> bool:
    """Look at the next recipients of an import that is `undoing`; False: there are no more of them."""
    with connection.transaction():
        row = connection.fetch_one(f"{HOLD} {connection.for_update}", import_id=import_id)
        if row is None:
            return False
        before, last, position = row
        after = before + position
        ((until, there),) = connection.fetch_all(CHUNK_OF, after=after, last=last, most=CHUNK)
        if until is None:
            connection.execute(UNDONE, import_id=import_id, now=now)
            return False
        removed = _remove(connection, progress, {"before": before, "after": after, "until": until}, now)
        connection.execute(COUNT, import_id=import_id, until=until, removed=removed, kept=there - removed, now=now)
    return True


def _remove(connection: Connection, progress: ProgressTable, ids: dict[str, int], now: int) -> int:
    removed = connection.execute(REMOVE, **ids)
    cancelled = Counter(event_id for (event_id,) in connection.fetch_all(CANCEL, now=now, **ids))
    for event_id, count in sorted(cancelled.items()):
        progress.count(event_id, {"cancelled": count}, now)
    return removed
