"""Recipients: each address once, whatever its case; all or nothing for any number of them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from storage import counters
from storage.connection import Connection
from storage.progress import ProgressTable
from storage.values import Address

LAST_INCOMING = "SELECT MAX(position) FROM incoming"
ADD = """
INSERT INTO recipients (recipient_id, address, address_key, created_at)
SELECT :before + i.position, i.address, i.address_key, :now FROM incoming i
WHERE i.position > :after AND i.position <= :after + :size ORDER BY i.position
ON CONFLICT (address_key) DO NOTHING
"""
# Its status stays: who unsubscribed is not made active by being added again.
ADD_BACK = """
UPDATE recipients SET removed_at = NULL
WHERE removed_at IS NOT NULL AND address_key IN (SELECT address_key FROM incoming)
"""
# How many a single INSERT adds: SQLite keeps what it needs to undo one statement in memory.
CHUNK = 1_000
FIND = "SELECT recipient_id, status FROM recipients WHERE address_key = :key AND removed_at IS NULL"
FORGET = "DELETE FROM recipients WHERE recipient_id = :recipient_id"
REMOVE_UNSUBSCRIBED = "UPDATE recipients SET removed_at = :now WHERE recipient_id = :recipient_id"
CANCEL = """
UPDATE deliveries SET status = 'cancelled', claimed_by = NULL, finished_at = :now
WHERE event_id IN (SELECT event_id FROM emails WHERE status IN ('sending', 'held')) AND recipient_id = :recipient_id
    AND status IN ('queued', 'claimed')
RETURNING event_id
"""
# Once may be a server's mistake. The same email, sent again, says nothing new.
NO_MAILBOX = """
UPDATE recipients SET no_mailbox = COALESCE(no_mailbox, :event_id),
    status = CASE WHEN status = 'active' AND no_mailbox <> :event_id THEN 'rejected' ELSE status END
WHERE recipient_id = :recipient_id
RETURNING status
"""


class Recipient(NamedTuple):
    """One address that receives every email while its status is `active`; else `unsubscribed` or `rejected`."""

    recipient_id: int
    address: str
    status: str
    created_at: datetime


class Added(NamedTuple):
    """How many addresses were new, and how many were there already."""

    added: int
    known: int


class Inserted(NamedTuple):
    """How many of the staged addresses were new; theirs are the recipient_ids after `before`, up to `last`."""

    added: int
    before: int
    last: int


class Recipients:
    """The acts on recipients."""

    def __init__(self, connection: Connection, progress: ProgressTable) -> None:
        self._connection = connection
        self._progress = progress

    def add(self, addresses: Iterable[Address], now: datetime) -> Added:
        """Add the addresses that are not there yet, in the order of their keys, all or nothing.

        They are taken one by one before anything is locked; what `addresses` raises comes out, and nothing
        was added. Nobody who unsubscribed or was rejected becomes active again.
        """
        self._connection.stage_addresses(addresses)
        try:
            return self._add_staged(int(now.timestamp()))
        finally:
            self._connection.unstage_addresses()

    def remove(self, addresses: Iterable[Address], now: datetime) -> int:
        """Remove these addresses, and cancel what was not yet sent to them; how many were there.

        That somebody unsubscribed is remembered. All or nothing.
        """
        with self._connection.transaction():
            return sum(self._remove(address, int(now.timestamp())) for address in addresses)

    def note_no_mailbox(self, recipient_id: int, event_id: int, now: int) -> None:
        """A server said of this email that there is no such mailbox: on a second email, write there no more."""
        row = self._connection.row(NO_MAILBOX, recipient_id=recipient_id, event_id=event_id)
        if row is not None and row[0] == "rejected":
            self._cancel_deliveries(recipient_id, now)

    def _add_staged(self, now: int) -> Added:
        count = staged(self._connection)
        with self._connection.transaction():
            added = self._connection.run(ADD_BACK) + insert_staged(self._connection, count, now).added
        return Added(added, count - added)

    def _remove(self, address: Address, now: int) -> bool:
        row = self._connection.row(FIND, key=address.key)
        if row is None:
            return False
        recipient_id, status = row
        self._cancel_deliveries(recipient_id, now)
        if status == "unsubscribed":
            self._connection.run(REMOVE_UNSUBSCRIBED, recipient_id=recipient_id, now=now)
        else:
            self._connection.run(FORGET, recipient_id=recipient_id)
        return True

    def _cancel_deliveries(self, recipient_id: int, now: int) -> None:
        for (event_id,) in self._connection.rows(CANCEL, recipient_id=recipient_id, now=now):
            self._progress.count(event_id, {"cancelled": 1}, now)


def staged(connection: Connection) -> int:
    """How many addresses are staged."""
    row = connection.row(LAST_INCOMING)
    return row[0] if row and row[0] else 0


def insert_staged(connection: Connection, count: int, now: int) -> Inserted:
    """Add those of the `count` staged addresses that are not there, inside the transaction that is open."""
    before = counters.take(connection, "recipient_id", count) - 1
    values = {"before": before, "now": now, "size": CHUNK}
    added = sum(connection.run(ADD, after=after, **values) for after in range(0, count, CHUNK))
    return Inserted(added, before, before + count)


def recipient_of(recipient_id: int, address: str, status: str, created_at: int) -> Recipient:
    """A row of the table."""
    return Recipient(recipient_id, address, status, datetime.fromtimestamp(created_at, UTC))
