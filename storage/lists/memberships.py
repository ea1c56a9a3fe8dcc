"""Let staged recipients join lists, and take the memberships that an import added out again.

Each function needs an open transaction. Lists are locked first, in the order of their list_ids, so that changes to the
same members take turns without deadlocks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from storage.connection import Connection
from storage.lists import list_names
from storage.values import name_key

BATCH_SIZE = 1_000  # memberships inserted or deleted by one statement

SELECT_ID = "SELECT list_id FROM lists WHERE name_key = :key AND deleted_at IS NULL"
SELECT_SIZE = "SELECT list_id, members FROM lists WHERE name_key = :key AND deleted_at IS NULL"
SELECT_IDS = "SELECT name, list_id FROM lists WHERE deleted_at IS NULL ORDER BY name_key"
# Memberships first: without statistics, PostgreSQL would begin with every list.
SELECT_NAMES = """
WITH m AS MATERIALIZED (
    SELECT recipient_id, list_id FROM memberships WHERE recipient_id IN ({recipient_ids}) AND left_at IS NULL
)
SELECT m.recipient_id, l.name FROM m CROSS JOIN lists l
WHERE l.list_id = m.list_id AND l.deleted_at IS NULL
ORDER BY m.recipient_id, l.name_key
"""
SELECT_NAME = "SELECT name FROM lists WHERE list_id = :list_id"
SELECT_STAGED_LISTS = "SELECT DISTINCT list_id FROM joining"
LOCK_LIST = """
UPDATE lists SET last_joined_at = CASE WHEN last_joined_at < :now THEN :now ELSE last_joined_at END
WHERE list_id = :list_id AND deleted_at IS NULL
"""
COUNT_MEMBERS = "UPDATE lists SET members = members + :change WHERE list_id = :list_id"
# Those who unsubscribed and were removed stay removed, and are on no list.
INSERT_MEMBERS = """
INSERT INTO memberships (list_id, recipient_id, joined_at, added_by)
SELECT :list_id, r.recipient_id, :now, :added_by FROM incoming i CROSS JOIN recipients r
WHERE r.address_key = i.address_key AND i.position > :after AND i.position <= :after + :size AND r.removed_at IS NULL
ORDER BY r.recipient_id
ON CONFLICT (list_id, recipient_id) DO NOTHING
"""
INSERT_STAGED_MEMBERS = """
INSERT INTO memberships (list_id, recipient_id, joined_at, added_by)
SELECT :list_id, r.recipient_id, :now, :added_by FROM joining j CROSS JOIN recipients r
WHERE j.list_id = :list_id AND r.address_key = j.address_key AND r.removed_at IS NULL
ORDER BY r.recipient_id
ON CONFLICT (list_id, recipient_id) DO NOTHING
"""
COUNT_DEPARTED = """
SELECT COUNT(*) FROM incoming i CROSS JOIN recipients r CROSS JOIN memberships m
WHERE r.address_key = i.address_key AND m.list_id = :list_id AND m.recipient_id = r.recipient_id
    AND m.left_at IS NOT NULL
"""
COUNT_STAGED_DEPARTED = """
SELECT COUNT(*) FROM joining j CROSS JOIN recipients r CROSS JOIN memberships m
WHERE j.list_id = :list_id AND r.address_key = j.address_key AND m.list_id = :list_id
    AND m.recipient_id = r.recipient_id AND m.left_at IS NOT NULL
"""
END_OF_BATCH = """
SELECT MAX(recipient_id) FROM (
    SELECT recipient_id FROM memberships WHERE list_id = :list_id AND recipient_id > :after
    ORDER BY recipient_id LIMIT :limit) AS batch
"""
DELETE_ADDED = """
DELETE FROM memberships
WHERE list_id = :list_id AND recipient_id > :after AND recipient_id <= :until AND added_by = :added_by
    AND left_at IS NULL
"""


class Joined(NamedTuple):
    """How many memberships were added, and how many were not because the recipient had left that list."""

    joined: int = 0
    left: int = 0
    list_ids: tuple[int, ...] = ()


class ListSize(NamedTuple):
    """A list, and how many members it has."""

    list_id: int
    members: int


def list_ids(connection: Connection) -> dict[str, int]:
    """Return the list_id of each list by its name."""
    return dict(connection.fetch_all(SELECT_IDS))


def names_of(connection: Connection, recipient_ids: Collection[int]) -> dict[int, list[str]]:
    """Return the names of the lists that these recipients are in, by recipient_id."""
    names: dict[int, list[str]] = {}
    if recipient_ids:
        sql = SELECT_NAMES.format(recipient_ids=", ".join(map(str, map(int, recipient_ids))))
        for recipient_id, name in connection.fetch_all(sql):
            names.setdefault(recipient_id, []).append(name)
    return names


def find(connection: Connection, names: Iterable[str]) -> tuple[int, ...]:
    """Return the list_ids of these lists. Raises NoSuchList."""
    found = []
    for name in names:
        row = connection.fetch_one(SELECT_ID, key=name_key(name))
        if row is None:
            raise list_names.no_such_list(connection, name)
        found.append(row[0])
    return tuple(found)


def size_of(connection: Connection, name: str) -> ListSize:
    """Return the list_id of a list, and the number of its members. Raises NoSuchList."""
    row = connection.fetch_one(SELECT_SIZE, key=name_key(name))
    if row is None:
        raise list_names.no_such_list(connection, name)
    return ListSize(*row)


def lock(connection: Connection, ids: Collection[int], now: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Lock these lists, and those that staged addresses name. Return the former and the latter. Raises NoSuchList."""
    named = tuple(list_id for (list_id,) in connection.fetch_all(SELECT_STAGED_LISTS))
    for list_id in sorted({*ids, *named}):
        if not connection.execute(LOCK_LIST, list_id=list_id, now=now):
            row = connection.fetch_one(SELECT_NAME, list_id=list_id)
            raise list_names.no_such_list(connection, row[0] if row else "")
    return tuple(ids), named


def join(
    connection: Connection, count: int, locked: tuple[tuple[int, ...], tuple[int, ...]], now: int, added_by: str
) -> Joined:
    """Let all of the `count` staged recipients join the first lists, and those that name the others join these."""
    joined = left = 0
    ids, named = locked
    values = {"now": now, "added_by": added_by}
    for list_id in ids:
        batches = range(0, count, BATCH_SIZE)
        batch = {"list_id": list_id, "size": BATCH_SIZE, **values}
        added = sum(connection.execute(INSERT_MEMBERS, after=after, **batch) for after in batches)
        joined += _count(connection, list_id, added)
        left += _number(connection, COUNT_DEPARTED, list_id) if added < count else 0
    for list_id in named:
        joined += _count(connection, list_id, connection.execute(INSERT_STAGED_MEMBERS, list_id=list_id, **values))
        if list_id not in ids:
            left += _number(connection, COUNT_STAGED_DEPARTED, list_id)
    return Joined(joined, left, tuple(sorted({*ids, *named})))


def remove_some(connection: Connection, list_id: int, after: int, added_by: str) -> int | None:
    """Remove the memberships that `added_by` added, except of those who left, among the next ones after `after`.

    Return the last recipient_id of this batch, or None if there are no more.
    """
    row = connection.fetch_one(END_OF_BATCH, list_id=list_id, after=after, limit=BATCH_SIZE)
    until: int | None = row[0] if row else None
    if until is not None:
        connection.execute(LOCK_LIST, list_id=list_id, now=0)
        values = {"list_id": list_id, "after": after, "until": until, "added_by": added_by}
        _count(connection, list_id, -connection.execute(DELETE_ADDED, **values))
    return until


def _count(connection: Connection, list_id: int, change: int) -> int:
    if change:
        connection.execute(COUNT_MEMBERS, list_id=list_id, change=change)
    return abs(change)


def _number(connection: Connection, sql: str, list_id: int) -> int:
    ((number,),) = connection.fetch_all(sql, list_id=list_id)
    return int(number)
