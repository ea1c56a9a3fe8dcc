"""Undo an import, in batches: first the memberships of lists that it added, then the recipients.

Recipients stay if they are inactive, were sent an email, are named by an email, or have left a list. So do memberships
that the recipient has ended.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from storage.connection import Connection
from storage.lists import memberships
from storage.progress import ProgressTable
from storage.recipients.recipients import subtract_members

BATCH_SIZE = 200  # recipients checked in one transaction

SELECT_UNDOING = """
SELECT after_id, last_id, position, options FROM imports WHERE import_id = :import_id AND status = 'undoing'
"""
SET_OPTIONS = "UPDATE imports SET options = :options, heartbeat_at = :now WHERE import_id = :import_id"
SELECT_END_OF_BATCH = """
SELECT MAX(recipient_id), COUNT(*) FROM (
    SELECT recipient_id FROM recipients
    WHERE recipient_id > :after AND recipient_id <= :last_id AND removed_at IS NULL
    ORDER BY recipient_id LIMIT :limit) AS batch
"""
# If the deliveries of an email were pruned, its recipients are no longer known, so they count as having been sent it.
DELETE_UNSENT = """
DELETE FROM recipients
WHERE recipient_id > :after AND recipient_id <= :until AND status = 'active' AND removed_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM memberships m WHERE m.recipient_id = recipients.recipient_id AND m.left_at IS NOT NULL)
AND NOT EXISTS (SELECT 1 FROM named_recipients n WHERE n.recipient_id = recipients.recipient_id)
AND NOT EXISTS (
    SELECT 1 FROM progress p JOIN emails e ON e.event_id = p.event_id
    LEFT JOIN deliveries d ON d.event_id = p.event_id AND d.recipient_id = recipients.recipient_id
    WHERE p.last_recipient_id > :after_id AND (
        d.status IN ('sending', 'sent', 'failed', 'unknown')
        OR (e.content_digest IS NOT NULL AND p.cursor_id >= recipients.recipient_id)))
"""
DELETE_MEMBERSHIPS = """
DELETE FROM memberships
WHERE recipient_id > :after AND recipient_id <= :until
    AND NOT EXISTS (SELECT 1 FROM recipients r WHERE r.recipient_id = memberships.recipient_id)
RETURNING list_id
"""
CANCEL_DELIVERIES = """
UPDATE deliveries SET status = 'cancelled', claimed_by = NULL, finished_at = :now
WHERE event_id IN (SELECT event_id FROM progress WHERE last_recipient_id > :after_id)
    AND recipient_id > :after AND recipient_id <= :until AND status IN ('queued', 'claimed')
    AND NOT EXISTS (SELECT 1 FROM recipients r WHERE r.recipient_id = deliveries.recipient_id)
RETURNING event_id
"""
ADD_COUNTS = """
UPDATE imports SET position = :until - after_id, removed = removed + :removed, kept = kept + :kept, heartbeat_at = :now
WHERE import_id = :import_id
"""
SET_UNDONE = """
UPDATE imports SET status = 'undone', position = last_id - after_id, finished_at = :now WHERE import_id = :import_id
"""


def undo_some(connection: Connection, progress: ProgressTable, import_id: int, now: int) -> bool:
    """Check the next batch of an import that is `undoing`. Return False if there are no more."""
    with connection.transaction():
        row = connection.fetch_one(f"{SELECT_UNDOING} {connection.for_update}", import_id=import_id)
        if row is None:
            return False
        after_id, last_id, position, options = row
        if _undo_memberships(connection, import_id, json.loads(options or "{}"), now):
            return True
        after = after_id + position
        ((until, there),) = connection.fetch_all(SELECT_END_OF_BATCH, after=after, last_id=last_id, limit=BATCH_SIZE)
        if until is None:
            connection.execute(SET_UNDONE, import_id=import_id, now=now)
            return False
        removed = _remove(connection, progress, {"after_id": after_id, "after": after, "until": until}, now)
        connection.execute(ADD_COUNTS, import_id=import_id, until=until, removed=removed, kept=there - removed, now=now)
    return True


def _undo_memberships(connection: Connection, import_id: int, options: dict[str, Any], now: int) -> bool:
    """Remove the next batch of memberships. Return False if there are no more."""
    list_ids = options.get("joined", {}).get("list_ids", [])
    done, after = options.get("undone", [0, 0])
    if done >= len(list_ids):
        return False
    until = memberships.remove_some(connection, list_ids[done], after, f"import {import_id}")
    options["undone"] = [done + 1, 0] if until is None else [done, until]
    connection.execute(SET_OPTIONS, import_id=import_id, options=json.dumps(options), now=now)
    return True


def _remove(connection: Connection, progress: ProgressTable, ids: dict[str, int], now: int) -> int:
    removed = connection.execute(DELETE_UNSENT, **ids)
    subtract_members(connection, (list_id for (list_id,) in connection.fetch_all(DELETE_MEMBERSHIPS, **ids)))
    cancelled = Counter(event_id for (event_id,) in connection.fetch_all(CANCEL_DELIVERIES, now=now, **ids))
    for event_id, count in sorted(cancelled.items()):
        progress.count(event_id, {"cancelled": count}, now)
    return removed
