"""Recipients: each address exists once, ignoring case. Any number of them is added all or nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple

from storage import email_listing, status_counts
from storage.connection import Connection
from storage.deliveries.listing import DeliveryRow, row_of
from storage.errors import NoSuchRecipient
from storage.lists import memberships
from storage.progress import ProgressTable
from storage.recipients import adding, removals
from storage.recipients.removals import Removal, Restored
from storage.search import finding
from storage.search.finding import Search, like_pattern
from storage.search.words import Word
from storage.values import RECIPIENT_STATUSES, Address, epoch_seconds, moment

BATCH_SIZE = 1_000  # recipients removed at a time
HISTORY_WINDOW_SIZE = 500  # emails read for one page of a recipient's history
SAME_BOUNCE_SECONDS = 3600  # two refusals within this time may have the same cause, and count once
MAX_CHARACTER = "\U0010ffff"  # greater than any character in an address
MAX_KEY_LENGTH = 254  # characters

DELETE_RECIPIENT = "DELETE FROM recipients WHERE recipient_id = :recipient_id"
# A recipient who is added again after this is like a new one, except for what they decided themselves.
SET_REMOVED = """
UPDATE recipients SET removed_at = :now, bounced_event_id = NULL, fields = NULL,
    status = CASE status WHEN 'unsubscribed' THEN status ELSE 'active' END
WHERE recipient_id = :recipient_id
"""
DELETE_MEMBERSHIPS = "DELETE FROM memberships WHERE recipient_id = :recipient_id AND left_at IS NULL RETURNING list_id"
COUNT_MEMBERS = "UPDATE lists SET members = members - :count WHERE list_id = :list_id"
ANY_DEPARTURE = "SELECT 1 FROM memberships WHERE recipient_id = :recipient_id LIMIT 1"
SET_UNSUBSCRIBED = """
UPDATE recipients SET status = 'unsubscribed' WHERE recipient_id = :recipient_id AND status <> 'unsubscribed'
"""
SET_ACTIVE = """
UPDATE recipients SET status = 'active', bounced_event_id = NULL
WHERE address_key = :key AND removed_at IS NULL AND (status <> 'active' OR bounced_event_id IS NOT NULL)
"""
CANCEL_UNSENT = """
UPDATE deliveries SET status = 'cancelled', claimed_by = NULL, finished_at = :now
WHERE event_id IN (SELECT event_id FROM emails WHERE status IN ('sending', 'held')) AND recipient_id = :recipient_id
    AND status IN ('queued', 'claimed')
RETURNING event_id
"""
# A single reply may be a server's mistake. A retry of the same email proves nothing new, and neither does another email
# within the hour, which may have met the same mistake. An attempt that has been pruned is older than that.
RECORD_HARD_BOUNCE = """
UPDATE recipients SET bounced_event_id = COALESCE(bounced_event_id, :event_id),
    status = CASE WHEN status = 'active' AND bounced_event_id <> :event_id AND NOT EXISTS (
        SELECT 1 FROM attempts a
        WHERE a.event_id = recipients.bounced_event_id AND a.recipient_id = recipients.recipient_id
            AND a.outcome = 'failed' AND a.attempted_at > :after) THEN 'rejected' ELSE status END
WHERE recipient_id = :recipient_id
RETURNING status
"""
COLUMNS = ("recipient_id", "address", "status", "created_at", "listed", "added_by", "fields")
SELECT_RECIPIENTS = f"SELECT {', '.join(COLUMNS)} FROM recipients WHERE removed_at IS NULL"  # noqa: S608
SELECT_BY_IDS = f"{SELECT_RECIPIENTS} AND recipient_id IN ({{ids}}) ORDER BY recipient_id"
CONTAINS = "AND address_key LIKE :pattern ESCAPE '!'"
PAGE_BY_ID = "AND recipient_id > :after ORDER BY recipient_id LIMIT :limit"
PAGE_BY_KEY = """
AND address_key >= :begin AND address_key < :end AND address_key <> :after ORDER BY address_key LIMIT :limit
"""
# The partial index on recipients that are not active is used only if the statement repeats its condition.
STATUS_CONDITIONS = {
    None: "",
    "active": "AND status = 'active'",
    "unsubscribed": "AND status = 'unsubscribed' AND status <> 'active'",
    "rejected": "AND status = 'rejected' AND status <> 'active'",
}
SELECT_FIELD_NAMES = "SELECT name FROM field_names ORDER BY name LIMIT :limit"
SELECT_KEY = "SELECT address_key FROM recipients WHERE recipient_id = :recipient_id"
SELECT_BY_ID = f"{SELECT_RECIPIENTS} AND recipient_id = :recipient_id"
SELECT_BY_KEY = f"{SELECT_RECIPIENTS} AND address_key = :key"
SELECT_HISTORY = """
SELECT e.event_id, e.subject, e.due_at,
    d.recipient_id, d.address, d.status, d.attempts, d.next_attempt_at, d.finished_at, d.reply
FROM ({page}) AS page JOIN deliveries d ON d.event_id = page.event_id AND d.recipient_id = :recipient_id
JOIN emails e ON e.event_id = page.event_id
ORDER BY page.due_at DESC, page.event_id DESC
"""
STARTED_EMAIL_KEYS = email_listing.keys_of(("sending", "sent", "held", "cancelled"), newest_first=True)


class Recipient(NamedTuple):
    """One address. It receives every email while its status is `active`, not `unsubscribed` or `rejected`."""

    recipient_id: int
    address: str
    status: str
    created_at: datetime
    listed: bool  # False: created because an email named this address, and receives only emails that name it
    added_by: str | None  # `import 7`, `program`, `page` or `command`; None: unknown
    fields: dict[str, str]  # personal fields


class Added(NamedTuple):
    """How many of the distinct addresses were new, and how many were already recipients.

    Also how many memberships of lists were added, and how many were not, because the recipient had left the list.
    """

    added: int
    existing: int
    joined: int = 0
    left: int = 0


class HistoryRow(NamedTuple):
    """One email and its delivery to this recipient."""

    event_id: int
    subject: str
    due_at: datetime
    delivery: DeliveryRow


class HistoryPage(NamedTuple):
    """A page of a recipient's history. The next one begins after the key `next_after`; None: this is the last page."""

    rows: list[HistoryRow]
    next_after: tuple[datetime, int] | None


class Recipients:
    """All recipients of an installation."""

    def __init__(self, connection: Connection, progress: ProgressTable) -> None:
        self._connection = connection
        self._progress = progress

    def add(
        self,
        addresses: Iterable[Address],
        now: datetime,
        added_by: str | None = None,
        *,
        field_names: Collection[str] = (),
        lists: Collection[str] = (),
    ) -> Added:
        """Add the addresses that are new, in the order of their keys, all or nothing.

        All addresses are read before anything is locked. If `addresses` raises, the exception propagates and nothing is
        added. Recipients who unsubscribed or were rejected do not become active again. `added_by` says who adds them:
        `program`, `page` or `command`. `field_names` are the names of all personal fields that have a value; it is read
        after the addresses. Every recipient joins `lists`, in addition to the lists that its address names. Raises
        NoSuchList or TooManyFields.
        """
        self._connection.stage_addresses(addresses)
        try:
            return self._add_staged(epoch_seconds(now), added_by, field_names, lists)
        finally:
            self._connection.unstage_addresses()

    def remove(self, addresses: Iterable[Address], now: datetime) -> int:
        """Remove these addresses and cancel their unsent deliveries, all or nothing. Return how many were recipients.

        Recipients who had unsubscribed or left a list are remembered, so that adding them again does not resubscribe
        them or bring them back into that list.
        """
        rest = iter(addresses)
        removed = 0
        with self._connection.transaction():
            while batch := list(islice(rest, BATCH_SIZE)):
                removed += self._remove_some(batch, epoch_seconds(now))
        return removed

    def remove_undoably(self, recipient_ids: Iterable[int], now: datetime) -> Removal:
        """Remove these recipients like `remove`, but so that `undo_removal` can restore them within a minute."""
        removals.forget_expired(self._connection, now)
        return removals.remove(self._connection, self._progress, recipient_ids, now)

    def undo_removal(self, removal_id: int, now: datetime) -> Restored:
        """Restore recipients, with their lists, fields and queued deliveries. Raises NoSuchRemoval.

        What they decided themselves in the meantime stays.
        """
        return removals.undo(self._connection, self._progress, removal_id, now)

    def forget_removals(self, now: datetime) -> None:
        """Forget the removals that can no longer be undone."""
        removals.forget_expired(self._connection, now)

    def unsubscribe(self, recipient_id: int, now: datetime) -> bool:
        """Unsubscribe a recipient and cancel their unsent deliveries. Return False if nothing changed."""
        with self._connection.transaction():
            if not self._connection.execute(SET_UNSUBSCRIBED, recipient_id=recipient_id):
                return False
            self._cancel_deliveries(recipient_id, epoch_seconds(now))
            return True

    def reactivate(self, address: Address) -> bool:
        """Make a recipient active again and forget its bounces. Return False if nothing changed."""
        with self._connection.transaction():
            return self._connection.execute(SET_ACTIVE, key=address.key) == 1

    def record_hard_bounce(self, recipient_id: int, event_id: int, now: int) -> None:
        """Record that a server said that the mailbox does not exist.

        A second email with this result makes the recipient `rejected`, unless it follows within SAME_BOUNCE_SECONDS.
        """
        row = self._connection.fetch_one(
            RECORD_HARD_BOUNCE, recipient_id=recipient_id, event_id=event_id, after=now - SAME_BOUNCE_SECONDS
        )
        if row is not None and row[0] == "rejected":
            self._cancel_deliveries(recipient_id, now)

    def get(self, recipient_id: int) -> Recipient | None:
        row = self._connection.fetch_one(SELECT_BY_ID, recipient_id=recipient_id)
        return None if row is None else recipient_of(*row)

    def find(self, address: Address) -> Recipient | None:
        row = self._connection.fetch_one(SELECT_BY_KEY, key=address.key)
        return None if row is None else recipient_of(*row)

    def field_names(self, limit: int = 2**63 - 1) -> list[str]:
        """Return the names of all personal fields that a recipient has ever had a value for, in order."""
        return [name for (name,) in self._connection.fetch_all(SELECT_FIELD_NAMES, limit=limit)]

    def counts(self) -> dict[str, int]:
        """Return the exact number of recipients with each status, at the same cost for any number."""
        return status_counts.by_status(self._connection, "recipients", RECIPIENT_STATUSES)

    def page(
        self,
        after: int = 0,
        limit: int = 100,
        status: str | None = None,
        address_begins: str | None = None,
        address_contains: str | None = None,
        *,
        words: Sequence[Word] = (),
        domain: str | None = None,
        list_name: str | None = None,
    ) -> list[Recipient]:
        """Return up to `limit` recipients after this recipient_id, in the order in which they were added.

        - `words`: only those with each of these words in the address, or in the value of a personal field;
        - `domain`: only those whose address has this domain;
        - `list_name`: only the members of this list. Raises NoSuchList;
        - `address_contains`, `address_begins`: only those whose Address.key contains it, or starts with it.

        With `address_begins`, but without words, domain and list, they are in the order of their keys. Then this raises
        NoSuchRecipient if the recipient `after` has been removed.
        """
        if max(len(address_begins or ""), len(address_contains or "")) > MAX_KEY_LENGTH:
            return []
        if words or domain is not None or list_name is not None or (address_contains and address_begins is None):
            search = Search(tuple(words), address_begins, address_contains, domain, status)
            return self._search(search, list_name, after, limit)
        sql = f"{SELECT_RECIPIENTS} {STATUS_CONDITIONS[status]}"
        values: dict[str, object] = {"limit": limit}
        if address_contains is not None:
            sql += f" {CONTAINS}"
            values["pattern"] = like_pattern(address_contains)
        if address_begins is None:
            rows = self._connection.fetch_all(f"{sql} {PAGE_BY_ID}", after=after, **values)
        else:
            key = self._key(after) if after else ""
            values |= {"begin": max(address_begins, key), "end": address_begins + MAX_CHARACTER}
            rows = self._connection.fetch_all(f"{sql} {PAGE_BY_KEY}", after=key, **values)
        return [recipient_of(*row) for row in rows]

    def pages(self, size: int = 1000, **wanted: Any) -> Iterator[list[Recipient]]:
        """Yield all recipients in the order in which they were added, `size` at a time.

        `wanted` are arguments of `page`, except `address_begins`.
        """
        after = 0
        while page := self.page(after, size, **wanted):
            yield page
            after = page[-1].recipient_id

    def deliveries(self, recipient_id: int, after: tuple[datetime, int] | None = None, limit: int = 100) -> HistoryPage:
        """Return a recipient's deliveries, newest email first, after the email with this (due_at, event_id).

        The work is bounded, so a page can be short or empty and still have a next one.
        """
        keys = email_listing.key_values(after, newest_first=True) | {"limit": HISTORY_WINDOW_SIZE}
        found = self._connection.fetch_all(
            SELECT_HISTORY.format(page=STARTED_EMAIL_KEYS), recipient_id=recipient_id, **keys
        )
        rows = [_history_row(*row) for row in found[:limit]]
        if len(found) >= limit:
            return HistoryPage(rows, (rows[-1].due_at, rows[-1].event_id))
        window = self._connection.fetch_all(STARTED_EMAIL_KEYS, **keys)
        if len(window) < HISTORY_WINDOW_SIZE:
            return HistoryPage(rows, None)
        due_at, event_id = window[-1]
        return HistoryPage(rows, (moment(due_at), event_id))

    def _add_staged(
        self, now: int, added_by: str | None, field_names: Collection[str], lists: Collection[str]
    ) -> Added:
        count = adding.staged(self._connection)
        with self._connection.transaction():
            locked = memberships.lock(self._connection, memberships.find(self._connection, lists), now)
            added = adding.restore_and_insert_staged(self._connection, count, now, added_by, field_names)
            joined = memberships.join(self._connection, count, locked, now, added_by or adding.UNKNOWN)
        return Added(added, count - added, joined.joined, joined.left)

    def _remove_some(self, addresses: Iterable[Address], now: int) -> int:
        found = [recipient for address in addresses if (recipient := self.find(address)) is not None]
        recipients = {recipient.recipient_id: recipient for recipient in found}
        self._remove_members(recipients)  # first, as lists are locked before deliveries
        for recipient in recipients.values():
            self._remove(recipient, now)
        return len(recipients)

    def _remove_members(self, recipient_ids: Iterable[int]) -> None:
        """Remove recipients from all lists, except that they stay out of those that they left."""
        memberships = (self._connection.fetch_all(DELETE_MEMBERSHIPS, recipient_id=each) for each in recipient_ids)
        subtract_members(self._connection, (list_id for rows in memberships for (list_id,) in rows))

    def _remove(self, recipient: Recipient, now: int) -> None:
        recipient_id = recipient.recipient_id
        self._cancel_deliveries(recipient_id, now)
        has_left = self._connection.fetch_one(ANY_DEPARTURE, recipient_id=recipient_id) is not None
        if recipient.status == "unsubscribed" or has_left:
            self._connection.execute(SET_REMOVED, recipient_id=recipient_id, now=now)
        else:
            self._connection.execute(DELETE_RECIPIENT, recipient_id=recipient_id)

    def _cancel_deliveries(self, recipient_id: int, now: int) -> None:
        for (event_id,) in self._connection.fetch_all(CANCEL_UNSENT, recipient_id=recipient_id, now=now):
            self._progress.count(event_id, {"cancelled": 1}, now)

    def _search(self, search: Search, list_name: str | None, after: int, limit: int) -> list[Recipient]:
        members = 0
        if list_name is not None:
            found = memberships.size_of(self._connection, list_name)
            search, members = search._replace(list_id=found.list_id), found.members
        ids = finding.find(self._connection, search, members, after, limit)
        sql = SELECT_BY_IDS.format(ids=", ".join(map(str, ids)))
        return [recipient_of(*row) for row in self._connection.fetch_all(sql)] if ids else []

    def _key(self, recipient_id: int) -> str:
        row = self._connection.fetch_one(SELECT_KEY, recipient_id=recipient_id)
        if row is None:
            raise NoSuchRecipient(recipient_id)
        return str(row[0])


def subtract_members(connection: Connection, list_ids: Iterable[int]) -> None:
    """Within the open transaction, subtract one from the members of each of these lists, for each time it is named."""
    for list_id, count in sorted(Counter(list_ids).items()):
        connection.execute(COUNT_MEMBERS, list_id=list_id, count=count)


def recipient_of(
    recipient_id: int,
    address: str,
    status: str,
    created_at: int,
    listed: int,
    added_by: str | None,
    fields: str | None,
) -> Recipient:
    """Return the recipient of a row with COLUMNS."""
    values = _fields(fields) if fields else {}
    return Recipient(recipient_id, address, status, moment(created_at), bool(listed), added_by, values)


def _fields(text: str) -> dict[str, str]:
    """Return the fields that are stored as JSON. Operators write to this table too: anything else counts as none."""
    try:
        fields = json.loads(text)
    except ValueError:
        return {}
    return fields if isinstance(fields, dict) else {}


def _history_row(event_id: int, subject: str, due_at: int, *delivery: object) -> HistoryRow:
    return HistoryRow(event_id, subject, moment(due_at), row_of(*delivery))  # type: ignore[arg-type]
