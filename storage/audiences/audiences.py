"""Audiences: who an email is for, as it is saved, counted and started.

The kind of an audience is stored with the email: `everyone`; `everyone_but` some lists; `lists`, less others; or
`named` recipients. Its lists are in `audiences`, and its names in `named_recipients`. An email to everyone has rows in
neither, so it costs nothing.

Lists are stored by their id, so an email follows a list that is renamed. A list that an email waits for can be deleted
at any time. Whoever starts an email or creates its deliveries therefore reads its lists with `lock_lists`, and puts it
on hold if one of them is deleted. Until that transaction ends, none of them can be deleted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

from storage import sequences, status_counts
from storage.audiences.windows import Window, window_of
from storage.connection import Connection, Row, Statement
from storage.errors import DBError, ListArchived, ListInBoth
from storage.lists import list_names
from storage.values import RECIPIENT_STATUSES, Address, name_key

MAX_ID = 2**63 - 1
COUNT_WINDOW_SIZE = 5_000  # rows read by one statement that counts
COUNT_SECONDS = 0.5  # after this, the rest of a large audience is estimated, so that its email is not late

SELECT_NAMED_LIST = """
SELECT l.list_id, l.archived_at FROM lists l WHERE l.name_key = :key AND l.deleted_at IS NULL {for_key_share_of_l}
"""
INSERT_LISTS = "INSERT INTO audiences (event_id, list_id, excluded) VALUES (?, ?, ?)"
INSERT_NAMED = "INSERT INTO named_recipients (event_id, recipient_id, address) VALUES (?, ?, ?)"
DELETE_AUDIENCE = (
    "DELETE FROM audiences WHERE event_id = :event_id",
    "DELETE FROM named_recipients WHERE event_id = :event_id",
)
SELECT_BY_KEY = "SELECT recipient_id, removed_at, status FROM recipients WHERE address_key = :key"
# A recipient who was removed receives emails again, but only those that name the address. The status stays.
INSERT_RECIPIENT = """
INSERT INTO recipients (recipient_id, address, address_key, created_at, listed, added_by)
VALUES (:recipient_id, :address, :key, :now, 0, :added_by)
ON CONFLICT (address_key) DO UPDATE SET removed_at = NULL,
    listed = CASE WHEN recipients.removed_at IS NULL THEN recipients.listed ELSE 0 END
RETURNING recipient_id
"""
SELECT_LISTS = """
SELECT l.list_id, a.excluded, l.name, l.deleted_at, l.last_joined_at FROM audiences a CROSS JOIN lists l
WHERE a.event_id = :event_id AND l.list_id = a.list_id ORDER BY a.list_id
"""
SELECT_NAMES = """
SELECT n.address, r.address_key FROM named_recipients n LEFT JOIN recipients r ON r.recipient_id = n.recipient_id
WHERE n.event_id = :event_id ORDER BY n.recipient_id
"""
COUNT_WINDOW = """
SELECT person.status, COUNT(*) FROM {source} AND person.removed_at IS NULL GROUP BY person.status
"""
SELECT_LAST = "SELECT COALESCE(MAX(recipient_id), 0) FROM recipients"
SELECT_MEMBERS = "SELECT members FROM lists WHERE list_id = :list_id"
COUNT_INACTIVE = """
SELECT r.status, COUNT(*) FROM recipients r CROSS JOIN memberships m
WHERE r.status IN ('unsubscribed', 'rejected') AND r.status <> 'active' AND r.removed_at IS NULL
    AND m.list_id = :list_id AND m.recipient_id = r.recipient_id AND m.left_at IS NULL
GROUP BY r.status
"""

# Whether a delivery's recipient is still in one of the lists that the email goes to.
IN_AUDIENCE = """
EXISTS (
    SELECT 1 FROM audiences a CROSS JOIN lists l CROSS JOIN memberships m
    WHERE a.event_id = {delivery}.event_id AND a.excluded = 0 AND l.list_id = a.list_id AND l.deleted_at IS NULL
        AND m.list_id = a.list_id AND m.recipient_id = {delivery}.recipient_id AND m.left_at IS NULL)
"""
# Whether the recipient of a delivery has left, or was removed from, all lists that the email goes to.
HAS_LEFT = f"""
EXISTS (SELECT 1 FROM progress p WHERE p.event_id = {{delivery}}.event_id AND p.audience = 'lists')
AND NOT {IN_AUDIENCE}
"""  # noqa: S608 - statements of our own


class Audience(NamedTuple):
    """Who an email is for: everyone (perhaps less some lists), some lists less others, or named addresses."""

    lists: tuple[str, ...] = ()  # names as given, at most 100
    exclude_lists: tuple[str, ...] = ()
    to: tuple[Address, ...] = ()  # if not empty, `lists` and `exclude_lists` are empty

    @property
    def kind(self) -> str:
        """Return `everyone`, `everyone_but` (some lists), `lists` or `named`."""
        if self.to:
            return "named"
        return "lists" if self.lists else "everyone_but" if self.exclude_lists else "everyone"

    def is_same(self, other: Audience) -> bool:
        """Return whether both audiences are the same. The order of lists and addresses does not count."""
        return self.keys() == other.keys()

    def keys(self) -> tuple[tuple[str, ...], ...]:
        """Return the keys of its lists, of the lists that it excludes, and of its addresses, each sorted."""
        lists = (tuple(sorted(set(map(name_key, names)))) for names in (self.lists, self.exclude_lists))
        return *lists, tuple(sorted({address.key for address in self.to}))


class AudienceCount(NamedTuple):
    """How many recipients an audience has now, and how many are left out because they are inactive."""

    recipients: int
    unsubscribed: int
    rejected: int


class ListOfEmail(NamedTuple):
    """A list that an email goes to, or that is excluded from it."""

    list_id: int
    excluded: bool
    name: str
    deleted_at: int | None
    last_joined_at: int


class Snapshot(NamedTuple):
    """An audience that was counted before the transaction that starts the email."""

    kind: str
    lists: list[tuple[int, bool]]  # (list_id, excluded)
    recipients: int

    def is_of(self, kind: str, lists: Sequence[ListOfEmail]) -> bool:
        """Return whether this is the audience of this kind with these lists."""
        return (self.kind, self.lists) == (kind, [(each.list_id, each.excluded) for each in lists])


EVERYONE = Audience()
ListIds = list[tuple[int, bool]]  # (list_id, excluded)


class Audiences:
    """The audiences of all emails of an installation."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock_lists = f"{SELECT_LISTS} {connection.for_key_share_of_l}"
        self._select_named_list = SELECT_NAMED_LIST.format(for_key_share_of_l=connection.for_key_share_of_l)

    def count(self, audience: Audience) -> AudienceCount:
        """Count the recipients of an audience as it is now. Raises NoSuchList, ListArchived or ListInBoth.

        Call this outside a transaction: for several lists, it reads all their members.
        """
        if audience.to:
            return self._count_named(audience.to)
        return self._count(audience.kind, self.resolve(audience))

    def count_saved(self, event_id: int, kind: str, *, is_limited: bool = False) -> Snapshot:
        """Count the recipients of a saved email, outside a transaction.

        If that takes longer than COUNT_SECONDS, the rest is estimated, unless the number `is_limited`. It is then shown
        until all deliveries exist.
        """
        lists = self._ids_of(event_id)
        counts = self._count_saved(event_id, kind, lists, None if is_limited else COUNT_SECONDS)
        return Snapshot(kind, lists, counts.recipients)

    def count_of(self, event_id: int, kind: str) -> AudienceCount:
        """Count the recipients of a saved email as they are now, outside a transaction."""
        return self._count_saved(event_id, kind, self._ids_of(event_id))

    def resolve(self, audience: Audience) -> ListIds:
        """Return the lists of an audience. Raises NoSuchList, ListArchived or ListInBoth.

        In a transaction, they cannot be deleted before it ends.
        """
        found: dict[int, bool] = {}
        for names, excluded in ((audience.lists, False), (audience.exclude_lists, True)):
            for name in names:
                row = self._connection.fetch_one(self._select_named_list, key=name_key(name))
                if row is None:
                    raise list_names.no_such_list(self._connection, name)
                if row[1] is not None:
                    raise ListArchived(name)
                if found.setdefault(row[0], excluded) is not excluded:
                    raise ListInBoth(name)
        return sorted(found.items())

    def resolve_each(self, audiences: Iterable[Audience]) -> list[ListIds | DBError]:
        """Resolve several audiences. Return the lists of each, or the error that it would raise."""
        return [[] if audience is EVERYONE else self._resolve_or_error(audience) for audience in audiences]

    def insert(self, saved: Sequence[tuple[int, Audience, ListIds, int]]) -> None:
        """Store the audiences of emails that were just saved. Each comes with its event_id, its lists, and the time."""
        rows = [(event_id, *each) for event_id, _, lists, _ in saved for each in _as_integers(lists)]
        if rows:
            self._connection.executemany(INSERT_LISTS, rows)
        named = [(event_id, address, now) for event_id, audience, _, now in saved for address in audience.to]
        if named:
            self._insert_named(named)

    def replace(self, event_id: int, audience: Audience, lists: ListIds, now: int) -> None:
        """Store another audience for an email."""
        for sql in DELETE_AUDIENCE:
            self._connection.execute(sql, event_id=event_id)
        self.insert([(event_id, audience, lists, now)])

    def get(self, event_id: int, kind: str) -> Audience:
        """Return the audience of an email of this kind, with the present names of its lists."""
        if kind == "everyone":
            return EVERYONE
        if kind == "named":
            rows = self._connection.fetch_all(SELECT_NAMES, event_id=event_id)
            return Audience(to=tuple(Address(address, key or address.lower()) for address, key in rows))
        return _audience_of(self.lists_of(event_id))

    def names_of_each(self, event_ids: Sequence[int]) -> list[Audience]:
        """Return the present names of the lists of several emails, without the addresses in `to`."""
        found = self._pipelined([(SELECT_LISTS, {"event_id": event_id}) for event_id in event_ids])
        return [_audience_of(list(map(_list_of_email, rows))) for rows in found]

    def lists_of(self, event_id: int) -> list[ListOfEmail]:
        """Return the lists of an email, with deleted ones."""
        return list(map(_list_of_email, self._connection.fetch_all(SELECT_LISTS, event_id=event_id)))

    def lock_lists(self, event_id: int) -> list[ListOfEmail]:
        """Return the lists of an email. Until the transaction ends, none of them is deleted."""
        return list(map(_list_of_email, self._connection.fetch_all(self._lock_lists, event_id=event_id)))

    def _ids_of(self, event_id: int) -> ListIds:
        return [(each.list_id, each.excluded) for each in self.lists_of(event_id)]

    def _count_saved(self, event_id: int, kind: str, lists: ListIds, seconds: float | None = None) -> AudienceCount:
        if kind == "named":
            return self._count_windows(window_of(self._connection, kind, (), ()), event_id)
        return self._count(kind, lists, seconds)

    def _resolve_or_error(self, audience: Audience) -> ListIds | DBError:
        try:
            return self.resolve(audience)
        except DBError as error:
            return error

    def _insert_named(self, named: Sequence[tuple[int, Address, int]]) -> None:
        """Store the recipients that emails name. Those that do not exist are created, and are not listed."""
        first = {address.key: (event_id, address, now) for event_id, address, now in reversed(named)}
        selected = self._pipelined([(SELECT_BY_KEY, {"key": key}) for key in sorted(first)])
        ids = {
            key: rows[0][0] for key, rows in zip(sorted(first), selected, strict=True) if rows and rows[0][1] is None
        }
        missing = [first[key] for key in sorted(first) if key not in ids]
        if missing:
            after_id = sequences.reserve(self._connection, "recipient_id", len(missing)) - 1
            created = self._pipelined(
                [
                    (INSERT_RECIPIENT, _new_recipient(after_id + position, *each))
                    for position, each in enumerate(missing, 1)
                ]
            )
            ids |= {each[1].key: rows[0][0] for each, rows in zip(missing, created, strict=True)}
        rows = {(event_id, ids[address.key]): address.text for event_id, address, _ in named}
        self._connection.executemany(INSERT_NAMED, [(*key, text) for key, text in rows.items()])

    def _pipelined(self, statements: Sequence[Statement]) -> list[list[Row]]:
        return cast("list[list[Row]]", self._connection.execute_pipelined(statements))

    def _count_named(self, addresses: Iterable[Address]) -> AudienceCount:
        keys = sorted({address.key for address in addresses})
        found = self._pipelined([(SELECT_BY_KEY, {"key": key}) for key in keys])
        return _as_count(Counter(rows[0][2] if rows else "active" for rows in found))

    def _count(self, kind: str, lists: ListIds, seconds: float | None = None) -> AudienceCount:
        included = [list_id for list_id, excluded in lists if not excluded]
        excluded = [list_id for list_id, is_excluded in lists if is_excluded]
        if kind == "lists":
            return self._count_lists(included, excluded, seconds)
        everyone = _as_count(Counter(status_counts.by_status(self._connection, "recipients", RECIPIENT_STATUSES)))
        if not excluded:
            return everyone
        without = self._count_lists(excluded, [], None)  # every member of a list is listed
        return AudienceCount(*(max(all_of - less, 0) for all_of, less in zip(everyone, without, strict=True)))

    def _count_lists(self, included: Sequence[int], excluded: Sequence[int], seconds: float | None) -> AudienceCount:
        if not included:
            return AudienceCount(0, 0, 0)
        if len(included) == 1 and not excluded:
            return self._count_one_list(included[0])
        return self._count_windows(window_of(self._connection, "lists", included, excluded), seconds=seconds)

    def _count_one_list(self, list_id: int) -> AudienceCount:
        """Count the members without reading them, if there are fewer inactive recipients than members."""
        ((members,),) = self._connection.fetch_all(SELECT_MEMBERS, list_id=list_id)
        counts = status_counts.by_status(self._connection, "recipients", RECIPIENT_STATUSES)
        if counts["unsubscribed"] + counts["rejected"] > members:
            return self._count_windows(window_of(self._connection, "lists", [list_id], []))
        inactive: dict[str, int] = dict(self._connection.fetch_all(COUNT_INACTIVE, list_id=list_id))
        return _as_count(Counter(inactive) + Counter(active=max(members - sum(inactive.values()), 0)))

    def _count_windows(self, window: Window, event_id: int = 0, seconds: float | None = None) -> AudienceCount:
        """Count an audience. After so many seconds, estimate the rest of it by the recipient_ids that are left."""
        end = None if seconds is None else time.monotonic() + seconds
        counts: Counter[str] = Counter()
        after: int | None = 0
        values = {"last": MAX_ID, "joined_until": MAX_ID, "event_id": event_id}
        values["window"] = window.rows(COUNT_WINDOW_SIZE)
        while after is not None:
            found = self._connection.fetch_all(COUNT_WINDOW.format(source=window.source), after=after, **values)
            counts.update(dict(found))
            ((after,),) = self._connection.fetch_all(window.end, after=after, **values)
            if after and end is not None and counts["active"] and time.monotonic() > end:
                ((last,),) = self._connection.fetch_all(SELECT_LAST)
                return _as_count(Counter({status: count * last // after for status, count in counts.items()}))
        return _as_count(counts)


def why_deleted(name: str, excluded: bool) -> str:
    """Return why an email is on hold after its list of this name was deleted."""
    return f'the list "{name}", which is excluded, was deleted' if excluded else f'its list "{name}" was deleted'


def why_nobody(kind: str, lists: Sequence[ListOfEmail]) -> str:
    """Return why an email with an empty audience is on hold."""
    if kind == "named":
        return "none of its recipients was active when it was due"
    if len(lists) == 1 and kind == "lists":
        return f'nobody was left on its list "{lists[0].name}" when it was due'
    place = "in its audience" if any(each.excluded for each in lists) else "on its lists"
    return f"nobody was left {place} when it was due"


def _audience_of(lists: Iterable[ListOfEmail]) -> Audience:
    by_name = sorted((name_key(each.name), each.excluded, each.name) for each in lists)
    included, excluded = (tuple(name for _, is_excluded, name in by_name if is_excluded == which) for which in (0, 1))
    return Audience(included, excluded)


def _as_integers(lists: ListIds) -> list[tuple[int, int]]:
    return [(list_id, int(excluded)) for list_id, excluded in lists]


def _list_of_email(row: Row) -> ListOfEmail:
    list_id, excluded, *others = row
    return ListOfEmail(list_id, bool(excluded), *others)


def _new_recipient(recipient_id: int, event_id: int, address: Address, now: int) -> dict[str, object]:
    values = {"address": address.text, "key": address.key, "now": now, "added_by": f"email {event_id}"}
    return {"recipient_id": recipient_id, **values}


def _as_count(counts: Counter[str]) -> AudienceCount:
    return AudienceCount(counts["active"], counts["unsubscribed"], counts["rejected"])
