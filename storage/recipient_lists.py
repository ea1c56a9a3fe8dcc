"""Recipients as lists show them, and what one of them was sent."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from storage import email_lists
from storage.connection import Connection
from storage.delivery_lists import DeliveryRow, row_of
from storage.errors import NoSuchRecipient
from storage.recipients import Recipient, recipient_of
from storage.values import Address, moment

LAST_CHARACTER = "\U0010ffff"  # no key begins with it: addresses have none
WINDOW = 500  # emails that one page of a recipient's history looks at

COLUMNS = "SELECT recipient_id, address, status, created_at FROM recipients WHERE removed_at IS NULL"
BY_ID = "AND recipient_id > :after ORDER BY recipient_id LIMIT :limit"
BY_KEY = """
AND address_key >= :begin AND address_key < :end AND address_key <> :after ORDER BY address_key LIMIT :limit
"""
# That of the few it speaks of the partial indexes, too.
OF_STATUS = {
    None: "",
    "active": "AND status = 'active'",
    "unsubscribed": "AND status = 'unsubscribed' AND status <> 'active'",
    "rejected": "AND status = 'rejected' AND status <> 'active'",
}
KEY = "SELECT address_key FROM recipients WHERE recipient_id = :recipient_id"
GET = f"{COLUMNS} AND recipient_id = :recipient_id"
FIND = f"{COLUMNS} AND address_key = :key"
HISTORY = """
SELECT e.event_id, e.subject, e.due_at,
    d.recipient_id, d.address, d.status, d.attempts, d.next_attempt_at, d.finished_at, d.reply
FROM ({page}) AS page JOIN deliveries d ON d.event_id = page.event_id AND d.recipient_id = :recipient_id
JOIN emails e ON e.event_id = page.event_id
ORDER BY page.due_at DESC, page.event_id DESC
"""
BEGUN = email_lists.keys_of(("sending", "sent", "held", "cancelled"), newest_first=True)


class HistoryRow(NamedTuple):
    """One email as this recipient got it, or did not."""

    event_id: int
    subject: str
    due_at: datetime
    delivery: DeliveryRow


class HistoryPage(NamedTuple):
    """Some of what a recipient was sent, and after which email the next page begins; None: this was the last one."""

    rows: list[HistoryRow]
    next_after: tuple[datetime, int] | None


def page(
    connection: Connection, after: int, limit: int, status: str | None, address_begins: str | None
) -> list[Recipient]:
    """The next recipients in the order in which they were added; of a search: in that of their addresses."""
    sql = f"{COLUMNS} {OF_STATUS[status]}"
    if address_begins is None:
        rows = connection.rows(f"{sql} {BY_ID}", after=after, limit=limit)
    else:
        key = _key(connection, after) if after else ""
        values = {"begin": max(address_begins, key), "end": address_begins + LAST_CHARACTER}
        rows = connection.rows(f"{sql} {BY_KEY}", after=key, limit=limit, **values)
    return [recipient_of(*row) for row in rows]


def get(connection: Connection, recipient_id: int) -> Recipient | None:
    """The recipient with this number."""
    row = connection.row(GET, recipient_id=recipient_id)
    return None if row is None else recipient_of(*row)


def find(connection: Connection, address: Address) -> Recipient | None:
    """The recipient with this address."""
    row = connection.row(FIND, key=address.key)
    return None if row is None else recipient_of(*row)


def history(connection: Connection, recipient_id: int, after: tuple[datetime, int] | None, limit: int) -> HistoryPage:
    """What a recipient was sent, of the emails before this key, the latest first."""
    keys = email_lists.key_values(after, newest_first=True) | {"limit": WINDOW}
    found = connection.rows(HISTORY.format(page=BEGUN), recipient_id=recipient_id, **keys)
    rows = [_history_row(*row) for row in found[:limit]]
    if len(found) >= limit:
        return HistoryPage(rows, (rows[-1].due_at, rows[-1].event_id))
    looked_at = connection.rows(BEGUN, **keys)
    if len(looked_at) < WINDOW:
        return HistoryPage(rows, None)
    due_at, event_id = looked_at[-1]
    return HistoryPage(rows, (moment(due_at), event_id))


def _key(connection: Connection, recipient_id: int) -> str:
    row = connection.row(KEY, recipient_id=recipient_id)
    if row is None:
        raise NoSuchRecipient(recipient_id)
    return str(row[0])


def _history_row(event_id: int, subject: str, due_at: int, *delivery: object) -> HistoryRow:
    return HistoryRow(event_id, subject, moment(due_at), row_of(*delivery))  # type: ignore[arg-type]
