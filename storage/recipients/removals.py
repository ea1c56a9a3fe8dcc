"""Removals that can be undone for a short time.

Theory of operation
-------------------
The removal is real from the moment it is committed: the recipient has `removed_at`, is in no list, and nothing more is
sent to them. But their row stays, even if they neither unsubscribed nor left a list, and `removals` keeps what else is
needed to restore them: their status, fields and memberships, and which of their deliveries were queued.

Undoing brings all of this back, except what happened in between: someone who unsubscribed or left a list in the
meantime stays out. Queued deliveries are queued again, even if their email was finished without them. A delivery that
a sender had claimed stays cancelled, because that sender may still have it in memory.

Once a removal can no longer be undone, the next removal or sweep forgets it: it deletes the record, and the rows of
those who have made no decision of their own. Until then, after a crash for example, the recipients are removed, as
after any other removal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from storage import sequences
from storage.connection import Connection, Row
from storage.errors import NoSuchRemoval
from storage.progress import ProgressTable
from storage.values import epoch_seconds

RESTORABLE_SECONDS = 60  # longer than the page offers it, because the click has to arrive

SELECT_RECIPIENT = """
SELECT recipient_id, status, bounced_event_id, listed, fields FROM recipients
WHERE recipient_id = :recipient_id AND removed_at IS NULL {for_update}
"""
DELETE_MEMBERSHIPS = """
DELETE FROM memberships WHERE recipient_id = :recipient_id AND left_at IS NULL
RETURNING list_id, recipient_id, joined_at, added_by
"""
CANCEL = "UPDATE deliveries SET status = 'cancelled', claimed_by = NULL, finished_at = :now"
OF_RECIPIENT = """
WHERE event_id IN (SELECT event_id FROM emails WHERE status IN ('sending', 'held')) AND recipient_id = :recipient_id
"""
CANCEL_QUEUED = f"{CANCEL} {OF_RECIPIENT} AND status = 'queued' RETURNING event_id, recipient_id"
CANCEL_REST = f"{CANCEL} {OF_RECIPIENT} AND status IN ('queued', 'claimed') RETURNING event_id, recipient_id"
SET_REMOVED = """
UPDATE recipients SET removed_at = :now, bounced_event_id = NULL, fields = NULL,
    status = CASE status WHEN 'unsubscribed' THEN status ELSE 'active' END
WHERE recipient_id = :recipient_id
"""
COUNT_MEMBERS = "UPDATE lists SET members = members + :change WHERE list_id = :list_id AND deleted_at IS NULL"
INSERT_REMOVAL = """
INSERT INTO removals (removal_id, removed_at, content) VALUES (:removal_id, :now, :content)
"""
SELECT_REMOVAL = "SELECT removed_at, content FROM removals WHERE removal_id = :removal_id {for_update}"
SELECT_EXPIRED = "SELECT removal_id, content FROM removals WHERE removed_at < :before"
DELETE_REMOVAL = "DELETE FROM removals WHERE removal_id = :removal_id"
# A recipient who was added again in the meantime keeps what they have now.
RESTORE = """
UPDATE recipients SET removed_at = NULL, fields = COALESCE(fields, CAST(:fields AS TEXT)),
    status = CASE WHEN removed_at IS NULL OR status = 'unsubscribed' THEN status ELSE CAST(:status AS TEXT) END,
    bounced_event_id = CASE WHEN removed_at IS NULL THEN bounced_event_id ELSE CAST(:bounced AS BIGINT) END,
    listed = CASE WHEN removed_at IS NULL THEN listed ELSE :listed END
WHERE recipient_id = :recipient_id
"""
INSERT_MEMBERSHIP = """
INSERT INTO memberships (list_id, recipient_id, joined_at, added_by)
VALUES (:list_id, :recipient_id, :joined_at, :added_by)
ON CONFLICT (list_id, recipient_id) DO NOTHING
"""
QUEUE_AGAIN = """
UPDATE deliveries SET status = 'queued', finished_at = NULL
WHERE event_id = :event_id AND recipient_id = :recipient_id AND status = 'cancelled' AND EXISTS (
    SELECT 1 FROM recipients r WHERE r.recipient_id = deliveries.recipient_id AND r.status = 'active')
"""
FORGET = """
DELETE FROM recipients WHERE recipient_id = :recipient_id AND removed_at IS NOT NULL AND status <> 'unsubscribed'
    AND NOT EXISTS (SELECT 1 FROM memberships m WHERE m.recipient_id = recipients.recipient_id)
"""


class Removal(NamedTuple):
    """A removal that can be undone, and how many recipients it removed."""

    removal_id: int
    removed: int


class Restored(NamedTuple):
    """How many recipients were restored, and how many of their messages stay cancelled."""

    recipients: int
    cancelled: int


def remove(connection: Connection, progress: ProgressTable, recipient_ids: Iterable[int], now: datetime) -> Removal:
    """Remove recipients so that `undo` can restore them. Those who were removed already do not count."""
    second = epoch_seconds(now)
    with connection.transaction():
        memberships: list[Row] = []
        queued: list[Row] = []
        rest: list[Row] = []
        ids = sorted(set(recipient_ids))
        for recipient_id in ids:
            memberships += connection.fetch_all(DELETE_MEMBERSHIPS, recipient_id=recipient_id)
        _count_members(connection, memberships, -1)  # lists are locked before deliveries
        select = SELECT_RECIPIENT.format(for_update=connection.for_update)
        recipients = [row for recipient_id in ids if (row := connection.fetch_one(select, recipient_id=recipient_id))]
        for recipient_id, *_ in recipients:
            values = {"recipient_id": recipient_id, "now": second}
            queued += connection.fetch_all(CANCEL_QUEUED, **values)
            rest += connection.fetch_all(CANCEL_REST, **values)
            connection.execute(SET_REMOVED, **values)
        for event_id in sorted({row[0] for row in queued + rest}):
            count = sum(row[0] == event_id for row in queued + rest)
            progress.count(event_id, {"cancelled": count}, second)
        removal_id = sequences.reserve(connection, "removal_id")
        content = {"recipients": recipients, "memberships": memberships, "queued": queued, "rest": len(rest)}
        connection.execute(INSERT_REMOVAL, removal_id=removal_id, now=second, content=json.dumps(content))
    return Removal(removal_id, len(recipients))


def undo(connection: Connection, progress: ProgressTable, removal_id: int, now: datetime) -> Restored:
    """Restore the recipients of a removal. Raises NoSuchRemoval if it was undone already, or is too long ago."""
    second = epoch_seconds(now)
    with connection.transaction():
        sql = SELECT_REMOVAL.format(for_update=connection.for_update)
        row = connection.fetch_one(sql, removal_id=removal_id)
        if row is None or row[0] < second - RESTORABLE_SECONDS:
            raise NoSuchRemoval(removal_id)
        connection.execute(DELETE_REMOVAL, removal_id=removal_id)
        content = json.loads(row[1])
        _restore_memberships(connection, content["memberships"])
        restored = 0
        for recipient_id, status, bounced, listed, fields in content["recipients"]:
            values = {"status": status, "bounced": bounced, "listed": listed, "fields": fields}
            restored += connection.execute(RESTORE, recipient_id=recipient_id, **values)
        queued = _queue_again(connection, progress, content["queued"], second)
        if queued:
            connection.notify()
    return Restored(restored, content["rest"] + len(content["queued"]) - queued)


def forget_expired(connection: Connection, now: datetime) -> None:
    """Forget the removals that can no longer be undone."""
    before = epoch_seconds(now) - RESTORABLE_SECONDS
    for removal_id, content in connection.fetch_all(SELECT_EXPIRED, before=before):
        with connection.transaction():
            if connection.execute(DELETE_REMOVAL, removal_id=removal_id):
                for recipient_id, *_ in json.loads(content)["recipients"]:
                    connection.execute(FORGET, recipient_id=recipient_id)


def _restore_memberships(connection: Connection, memberships: list[Row]) -> None:
    """Restore memberships of lists that still exist. A recipient who left a list in the meantime stays out of it."""
    lists = sorted({row[0] for row in memberships})
    existing = {each for each in lists if connection.execute(COUNT_MEMBERS, list_id=each, change=0)}  # locked, in order
    names = ("list_id", "recipient_id", "joined_at", "added_by")
    restored = [
        row
        for row in memberships
        if row[0] in existing and connection.execute(INSERT_MEMBERSHIP, **dict(zip(names, row, strict=True)))
    ]
    _count_members(connection, restored, 1)


def _count_members(connection: Connection, memberships: list[Row], change: int) -> None:
    for list_id in sorted({row[0] for row in memberships}):
        count = sum(row[0] == list_id for row in memberships)
        connection.execute(COUNT_MEMBERS, list_id=list_id, change=change * count)


def _queue_again(connection: Connection, progress: ProgressTable, queued: list[Row], now: int) -> int:
    """Queue cancelled deliveries again, unless their email was cancelled. Return how many."""
    total = 0
    for event_id in sorted({row[0] for row in queued}):
        progress.lock(event_id)
        status = progress.email_status(event_id, lock=True)
        if status == "cancelled":
            continue
        count = sum(
            connection.execute(QUEUE_AGAIN, event_id=event_id, recipient_id=recipient_id)
            for each, recipient_id in queued
            if each == event_id
        )
        if count and status == "sent":
            progress.reopen(event_id)
        if count:
            progress.count(event_id, {"cancelled": -count}, now)
        total += count
    return total
