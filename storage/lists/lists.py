"""Lists: named sets of recipients.

A membership whose `left_at` is set records that the recipient left the list. No import or program adds them again, even
if the recipient or the list is deleted and created again in the meantime. A member whom a person or a program removed
can be added again.

Emails. A recipient who leaves a list, or is removed from it, gets nothing more of the emails that are being sent to it,
unless they are on another list of the email (storage/audiences/departures.py). An email follows a list that is renamed
or archived. Deleting a list puts emails on hold: those that are being sent and have not reached all members, then those
that wait for it. If the process dies in between, these are put on hold when they are due.

Locks. Each change to the members of a list first updates the row of the list, so changes take turns. An email that is
saved, started or claimed keeps that row (FOR KEY SHARE) from being deleted until its transaction ends. Such a
transaction does not wait for changes to the members. Lists are locked before deliveries, deliveries before `progress`,
and that before `emails`. Only starting an email locks its row in `emails` first; so a list is deleted, and the emails
that wait for it are put on hold, in two transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from datetime import datetime
from typing import NamedTuple, TypeVar

from storage import sequences
from storage.audiences import departures
from storage.audiences.audiences import why_deleted
from storage.connection import Connection
from storage.errors import ListExists, NoSuchList
from storage.lists import list_names, memberships
from storage.lists.memberships import COUNT_DEPARTED, COUNT_MEMBERS, END_OF_BATCH
from storage.progress import ProgressTable
from storage.recipients.adding import restore_and_insert_staged, staged
from storage.recipients.recipients import COLUMNS, Recipient, recipient_of
from storage.values import Address, epoch_seconds, moment, moment_or_none, name_key

BATCH_SIZE = 1_000  # memberships inserted by one statement, or deleted in one transaction
LEFT = "left"  # `added_by` of someone who left a list that they had been removed from

LIST_COLUMNS = "list_id, name, created_at, archived_at, members"
SELECT_LIST = f"SELECT {LIST_COLUMNS} FROM lists WHERE name_key = :key AND deleted_at IS NULL"  # noqa: S608
SELECT_LIST_BY_ID = f"SELECT {LIST_COLUMNS} FROM lists WHERE list_id = :list_id AND deleted_at IS NULL"  # noqa: S608
SELECT_PAGE = f"""
SELECT {LIST_COLUMNS} FROM lists WHERE deleted_at IS NULL AND name_key > :after {{condition}}
ORDER BY name_key LIMIT :limit
"""  # noqa: S608 - statements of our own
ARCHIVED_CONDITIONS = {None: "", True: "AND archived_at IS NOT NULL", False: "AND archived_at IS NULL"}
SELECT_ANY = "SELECT list_id, name, deleted_at FROM lists WHERE name_key = :key"
INSERT_LIST = """
INSERT INTO lists (list_id, name, name_key, created_at) VALUES (:list_id, :name, :key, :now)
ON CONFLICT (name_key) DO NOTHING
"""
RESTORE_LIST = """
UPDATE lists SET deleted_at = NULL, archived_at = NULL, name = :name, created_at = :now, members = 0
WHERE list_id = :list_id AND deleted_at IS NOT NULL
"""
SET_NAME = "UPDATE lists SET name = :name, name_key = :key WHERE list_id = :list_id"
FREE_KEY = "UPDATE lists SET name_key = :key WHERE list_id = :list_id AND deleted_at IS NOT NULL"
MOVE_DEPARTURES = """
UPDATE memberships SET list_id = :to
WHERE list_id = :list_id AND left_at IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM memberships m WHERE m.list_id = :to AND m.recipient_id = memberships.recipient_id)
"""
SET_ARCHIVED = """
UPDATE lists SET archived_at = CASE WHEN :archived = 1 THEN COALESCE(archived_at, :now) END
WHERE name_key = :key AND deleted_at IS NULL
"""
SET_DELETED = "UPDATE lists SET deleted_at = :now, members = 0 WHERE list_id = :list_id"
# Scheduled emails that include or exclude the list.
HOLD_WAITING = """
UPDATE emails SET status = 'held', held_because = :reason
WHERE status = 'scheduled' AND event_id IN (
    SELECT event_id FROM audiences WHERE list_id = :list_id AND excluded = :excluded)
"""
DELETE_BATCH = """
DELETE FROM memberships
WHERE list_id = :list_id AND recipient_id > :after AND recipient_id <= :last AND left_at IS NULL AND EXISTS (
    SELECT 1 FROM lists l WHERE l.list_id = memberships.list_id AND l.deleted_at IS NOT NULL)
"""
LOCK_LIST = """
UPDATE lists SET last_joined_at = CASE WHEN last_joined_at < :now THEN :now ELSE last_joined_at END
WHERE name_key = :key AND deleted_at IS NULL RETURNING list_id
"""
INSERT_MEMBERS = """
INSERT INTO memberships (list_id, recipient_id, joined_at, added_by)
SELECT :list_id, r.recipient_id, :now, :added_by FROM incoming i CROSS JOIN recipients r
WHERE r.address_key = i.address_key AND i.position > :after AND i.position <= :after + :size
ORDER BY r.recipient_id
ON CONFLICT (list_id, recipient_id) DO NOTHING
"""
DELETE_OTHERS = """
DELETE FROM memberships WHERE list_id = :list_id AND left_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM recipients r CROSS JOIN incoming i
    WHERE r.recipient_id = memberships.recipient_id AND i.address_key = r.address_key)
"""
DELETE_MEMBER = """
DELETE FROM memberships WHERE list_id = :list_id AND left_at IS NULL AND recipient_id = (
    SELECT recipient_id FROM recipients WHERE address_key = :key)
RETURNING recipient_id
"""
SELECT_MEMBERS = f"""
SELECT m.joined_at, m.left_at, m.added_by, {", ".join(f"r.{column}" for column in COLUMNS)}
FROM memberships m CROSS JOIN recipients r
WHERE r.recipient_id = m.recipient_id AND m.list_id = :list_id AND m.recipient_id > :after AND r.removed_at IS NULL
ORDER BY m.recipient_id LIMIT :limit
"""  # noqa: S608 - statements of our own
SELECT_LISTS_OF = f"""
SELECT m.joined_at, m.left_at, m.added_by, {", ".join(f"l.{column}" for column in LIST_COLUMNS.split(", "))}
FROM memberships m CROSS JOIN lists l
WHERE l.list_id = m.list_id AND m.recipient_id = :recipient_id AND l.deleted_at IS NULL
"""  # noqa: S608 - statements of our own
SET_LEFT = """
UPDATE memberships SET left_at = :now
WHERE list_id = :list_id AND recipient_id = :recipient_id AND left_at IS NULL
"""
INSERT_LEFT = """
INSERT INTO memberships (list_id, recipient_id, joined_at, left_at, added_by)
SELECT l.list_id, r.recipient_id, :now, :now, :added_by FROM lists l CROSS JOIN recipients r
WHERE l.list_id = :list_id AND r.recipient_id = :recipient_id
ON CONFLICT (list_id, recipient_id) DO NOTHING
"""

SELECT_LISTS_OF_EMAIL = "SELECT list_id FROM audiences WHERE event_id = :event_id AND excluded = 0 ORDER BY list_id"
SELECT_WAITING = """
SELECT e.event_id, e.subject, e.due_at, e.status FROM audiences a JOIN emails e ON e.event_id = a.event_id
WHERE a.list_id = :list_id AND e.status IN ('scheduled', 'held', 'sending') ORDER BY e.due_at, e.event_id LIMIT :limit
"""
COUNT_BY_STATE = """
SELECT COALESCE(SUM(CASE WHEN archived_at IS NULL THEN 1 ELSE 0 END), 0), COUNT(*) FROM lists WHERE deleted_at IS NULL
"""

T = TypeVar("T")


class List(NamedTuple):
    """A list. `members` does not count those who left; it counts members who unsubscribed or were rejected."""

    list_id: int
    name: str
    created_at: datetime
    archived_at: datetime | None
    members: int


class Member(NamedTuple):
    """A recipient on a list, since when, and how they were added: `import 7`, `program`, `page` or `command`."""

    recipient: Recipient
    joined_at: datetime
    left_at: datetime | None  # they left the list themselves
    added_by: str


class Membership(NamedTuple):
    """A list that a recipient is in, or left. The fields are those of a Member."""

    list: List
    joined_at: datetime
    left_at: datetime | None
    added_by: str


class MembersAdded(NamedTuple):
    """The numbers of distinct addresses that were added, were already members, or had left the list.

    `created` is the number of them that were no recipients before.
    """

    added: int
    existing: int
    left: int
    created: int


class MembersReplaced(NamedTuple):
    """The numbers of members that were added, removed and kept, and of addresses that had left the list."""

    added: int
    removed: int
    kept: int
    left: int


class WaitingEmail(NamedTuple):
    """An email that waits for a list, or is being sent to it."""

    event_id: int
    subject: str
    due_at: datetime
    status: str


class ListCounts(NamedTuple):
    """How many lists there are."""

    active: int
    archived: int


class Lists:
    """All lists of an installation. Names are compared without case. Those that do not exist raise NoSuchList."""

    def __init__(self, connection: Connection, progress: ProgressTable) -> None:
        self._connection = connection
        self._progress = progress

    def add(self, name: str, now: datetime) -> List:
        """Create a list without members. Raises ListExists.

        If a list of this name was deleted, those who had left it stay out of the new one.
        """
        key, second = name_key(name), epoch_seconds(now)
        deleted = self._connection.fetch_one(f"{SELECT_ANY} AND deleted_at IS NOT NULL", key=key)
        if deleted is not None:
            self._delete_members(deleted[0])  # in case that was interrupted
        with self._connection.transaction():
            found = self._connection.fetch_one(f"{SELECT_ANY} {self._connection.for_update}", key=key)
            if found is None:
                list_id = sequences.reserve(self._connection, "list_id")
                done = self._connection.execute(INSERT_LIST, list_id=list_id, name=name, key=key, now=second)
            else:
                list_id = found[0]
                done = self._connection.execute(RESTORE_LIST, list_id=list_id, name=name, now=second)
            if not done:
                raise ListExists(found[1] if found else name)
        return List(list_id, name, moment(second), None, 0)

    def get(self, name: str) -> List | None:
        row = self._connection.fetch_one(SELECT_LIST, key=name_key(name))
        return None if row is None else _list(*row)

    def get_by_id(self, list_id: int) -> List | None:
        row = self._connection.fetch_one(SELECT_LIST_BY_ID, list_id=list_id)
        return None if row is None else _list(*row)

    def counts(self) -> ListCounts:
        ((active, count),) = self._connection.fetch_all(COUNT_BY_STATE)
        return ListCounts(int(active), int(count) - int(active))

    def ids_of_email(self, event_id: int) -> list[int]:
        """Return the list_ids of the lists that an email goes to, including those that were deleted since."""
        return [list_id for (list_id,) in self._connection.fetch_all(SELECT_LISTS_OF_EMAIL, event_id=event_id)]

    def waiting_emails(self, list_id: int, limit: int) -> list[WaitingEmail]:
        """Return up to `limit` emails that include or exclude a list and are not finished, the earliest first."""
        rows = self._connection.fetch_all(SELECT_WAITING, list_id=list_id, limit=limit)
        return [WaitingEmail(event_id, subject, moment(due_at), status) for event_id, subject, due_at, status in rows]

    def require(self, name: str) -> List:
        """Return the list with this name. Raises NoSuchList."""
        found = self.get(name)
        if found is None:
            raise self.no_such_list(name)
        return found

    def page(self, after: str = "", limit: int = 100, archived: bool | None = None) -> list[List]:
        """Return up to `limit` lists after the name `after`, by name: all, or only those that are archived or not."""
        sql = SELECT_PAGE.format(condition=ARCHIVED_CONDITIONS[archived])
        return [_list(*row) for row in self._connection.fetch_all(sql, after=name_key(after), limit=limit)]

    def ids(self) -> dict[str, int]:
        """Return the list_id of each list by its name, in the order of names."""
        return memberships.list_ids(self._connection)

    def names_of(self, recipient_ids: Collection[int]) -> dict[int, list[str]]:
        """Return the names of the lists that each of these recipients is in, by recipient_id."""
        return memberships.names_of(self._connection, recipient_ids)

    def names(self, limit: int) -> list[str]:
        """Return the names of up to `limit` lists that are not archived."""
        return list_names.names(self._connection, limit)

    def closest(self, name: str) -> list[str]:
        """Return the names of all lists that are not archived, or of the most similar ones if there are many."""
        return list_names.closest(self._connection, name)

    def no_such_list(self, name: str) -> NoSuchList:
        """Return the error for an unknown name."""
        return list_names.no_such_list(self._connection, name)

    def rename(self, name: str, new: str, now: datetime) -> List:
        """Give a list another name. Emails already scheduled for it still go to it. Raises ListExists."""
        key = name_key(new)
        with self._connection.transaction():
            list_id = self._lock(name, 0)
            other = self._connection.fetch_one(f"{SELECT_ANY} {self._connection.for_update}", key=key)
            if other is not None and other[0] != list_id:
                if other[2] is None:
                    raise ListExists(other[1])
                self._inherit_departures(list_id, other[0], key)
            self._connection.execute(SET_NAME, list_id=list_id, name=new, key=key)
            return self.require(new)

    def archive(self, name: str, now: datetime) -> None:
        """Let a list accept no new emails. Those already scheduled for it still go out."""
        self._set_archived(name, True, epoch_seconds(now))

    def unarchive(self, name: str) -> None:
        self._set_archived(name, False, 0)

    def delete(self, name: str, now: datetime) -> None:
        """Delete a list, and put emails on hold that wait for it, or are being sent and have not reached everyone."""
        second = epoch_seconds(now)
        with self._connection.transaction():
            sql = f"{SELECT_ANY} AND deleted_at IS NULL {self._connection.for_update}"
            row = self._connection.fetch_one(sql, key=name_key(name))
            if row is None:
                raise self.no_such_list(name)
            list_id, found, _ = row
            self._connection.execute(SET_DELETED, list_id=list_id, now=second)
            emails = departures.started_emails(self._connection, [list_id])
            departures.hold_started(self._connection, self._progress, list_id, found, emails, second)
        self._hold_waiting(list_id, found)
        self._delete_members(list_id)

    def members(self, name: str, after: int = 0, limit: int = 100) -> list[Member]:
        """Return up to `limit` members after this recipient_id, with those who left, in the order of recipient_ids."""
        list_id = self.require(name).list_id
        rows = self._connection.fetch_all(SELECT_MEMBERS, list_id=list_id, after=after, limit=limit)
        return [
            Member(recipient_of(*row), moment(joined_at), moment_or_none(left_at), added_by)
            for joined_at, left_at, added_by, *row in rows
        ]

    def add_members(self, name: str, addresses: Iterable[Address], now: datetime, added_by: str) -> MembersAdded:
        """Add recipients to a list, all or nothing. Those that do not exist are created.

        All addresses are read before anything is locked; if `addresses` raises, the exception propagates.
        """
        return self._staged(addresses, lambda: self._add_staged(name, epoch_seconds(now), added_by))

    def replace_members(self, name: str, addresses: Iterable[Address], now: datetime, added_by: str) -> MembersReplaced:
        """Make these recipients the members of a list: add and remove what is different, all or nothing."""
        return self._staged(addresses, lambda: self._replace_staged(name, epoch_seconds(now), added_by))

    def remove_member(self, name: str, address: Address, now: datetime) -> bool:
        """Remove a member, who may be added again. Return False if they were no member, or had left."""
        second = epoch_seconds(now)
        with self._connection.transaction():
            list_id = self._lock(name, 0)
            removed = self._connection.fetch_one(DELETE_MEMBER, list_id=list_id, key=address.key)
            if removed is None:
                return False
            self._count(list_id, -1)
            emails = departures.started_emails(self._connection, [list_id])
            departures.cancel(self._connection, self._progress, emails, second, removed[0])
        departures.cancel_again(self._connection, self._progress, emails, second, removed[0])
        return True

    def leave(self, recipient_id: int, list_ids: Iterable[int], now: datetime) -> int:
        """Record that a recipient left these lists of their own accord. Return how many they were in.

        This counts for lists that they are not on, too: no import or program adds them to these lists any more.
        """
        second = epoch_seconds(now)
        with self._connection.transaction():
            left = [list_id for list_id in sorted(set(list_ids)) if self._leave(recipient_id, list_id, second)]
            emails = departures.started_emails(self._connection, left)
            departures.cancel(self._connection, self._progress, emails, second, recipient_id)
        departures.cancel_again(self._connection, self._progress, emails, second, recipient_id)
        return len(left)

    def lists_of(self, recipient_id: int) -> list[Membership]:
        """Return the lists that a recipient is in or left, by name."""
        found = [
            Membership(_list(*row), moment(joined_at), moment_or_none(left_at), added_by)
            for joined_at, left_at, added_by, *row in self._connection.fetch_all(
                SELECT_LISTS_OF, recipient_id=recipient_id
            )
        ]
        return sorted(found, key=lambda membership: name_key(membership.list.name))

    def _lock(self, name: str, now: int) -> int:
        """Lock the list against other changes to its members. Return its list_id. Raises NoSuchList."""
        row = self._connection.fetch_one(LOCK_LIST, key=name_key(name), now=now)
        if row is None:
            raise self.no_such_list(name)
        return int(row[0])

    def _count(self, list_id: int, change: int) -> None:
        self._connection.execute(COUNT_MEMBERS, list_id=list_id, change=change)

    def _leave(self, recipient_id: int, list_id: int, now: int) -> bool:
        """Record that a recipient left a list. Return whether they were in it."""
        self._count(list_id, 0)  # locks the list
        values = {"list_id": list_id, "recipient_id": recipient_id, "now": now}
        if self._connection.execute(SET_LEFT, **values):
            self._count(list_id, -1)
            return True
        self._connection.execute(INSERT_LEFT, **values, added_by=LEFT)
        return False

    def _hold_waiting(self, list_id: int, name: str) -> None:
        """Put the emails on hold that wait for a list that was deleted."""
        with self._connection.transaction():
            for excluded in (False, True):
                reason = why_deleted(name, excluded)
                self._connection.execute(HOLD_WAITING, list_id=list_id, excluded=int(excluded), reason=reason)

    def _inherit_departures(self, list_id: int, deleted: int, key: str) -> None:
        """Let a list take the name of a deleted one. Those who had left that one stay out of this one."""
        self._connection.execute(MOVE_DEPARTURES, list_id=deleted, to=list_id)
        self._connection.execute(FREE_KEY, list_id=deleted, key=f"{key};{deleted}")  # no name contains a semicolon

    def _set_archived(self, name: str, archived: bool, now: int) -> None:
        with self._connection.transaction():
            if not self._connection.execute(SET_ARCHIVED, key=name_key(name), archived=int(archived), now=now):
                raise self.no_such_list(name)

    def _delete_members(self, list_id: int) -> None:
        """Delete the memberships of a deleted list, except of those who left, in short transactions."""
        after = 0
        while after is not None:
            with self._connection.transaction():
                batch = {"list_id": list_id, "after": after}
                ((last,),) = self._connection.fetch_all(END_OF_BATCH, **batch, limit=BATCH_SIZE)
                if last is not None:
                    self._connection.execute(DELETE_BATCH, **batch, last=last)
            after = last

    def _staged(self, addresses: Iterable[Address], act: Callable[[], T]) -> T:
        self._connection.stage_addresses(addresses)
        try:
            return act()
        finally:
            self._connection.unstage_addresses()

    def _add_staged(self, name: str, now: int, added_by: str) -> MembersAdded:
        count = staged(self._connection)
        with self._connection.transaction():
            list_id = self._lock(name, now)
            created = restore_and_insert_staged(self._connection, count, now, added_by)
            added = self._insert_members(list_id, count, now, added_by)
            left = self._departed(list_id)
        return MembersAdded(added, count - added - left, left, created)

    def _replace_staged(self, name: str, now: int, added_by: str) -> MembersReplaced:
        count = staged(self._connection)
        emails: list[int] = []
        with self._connection.transaction():
            list_id = self._lock(name, now)
            removed = self._connection.execute(DELETE_OTHERS, list_id=list_id)
            self._count(list_id, -removed)
            restore_and_insert_staged(self._connection, count, now, added_by)
            added = self._insert_members(list_id, count, now, added_by)
            left = self._departed(list_id)
            if removed:
                emails = departures.started_emails(self._connection, [list_id])
                departures.cancel(self._connection, self._progress, emails, now)
        departures.cancel_again(self._connection, self._progress, emails, now)
        return MembersReplaced(added, removed, count - added - left, left)

    def _insert_members(self, list_id: int, count: int, now: int, added_by: str) -> int:
        values = {"list_id": list_id, "now": now, "added_by": added_by, "size": BATCH_SIZE}
        batches = range(0, count, BATCH_SIZE)
        added = sum(self._connection.execute(INSERT_MEMBERS, after=after, **values) for after in batches)
        self._count(list_id, added)
        return added

    def _departed(self, list_id: int) -> int:
        """Return how many of the staged addresses left the list."""
        ((count,),) = self._connection.fetch_all(COUNT_DEPARTED, list_id=list_id)
        return int(count)


def _list(list_id: int, name: str, created_at: int, archived_at: int | None, members: int) -> List:
    return List(list_id, name, moment(created_at), moment_or_none(archived_at), members)
