"""Everything that people and programs do with recipients; a sweep needs only what `storage/recipients.py` has."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from storage import counts, recipient_lists
from storage.recipient_lists import HistoryPage
from storage.recipients import Recipient, Recipients
from storage.values import RECIPIENT_STATUSES, Address

REACTIVATE = """
UPDATE recipients SET status = 'active', no_mailbox = NULL
WHERE address_key = :key AND removed_at IS NULL AND (status <> 'active' OR no_mailbox IS NOT NULL)
"""
UNSUBSCRIBE = """
UPDATE recipients SET status = 'unsubscribed' WHERE recipient_id = :recipient_id AND status <> 'unsubscribed'
"""


class RecipientActs(Recipients):
    """The acts on recipients."""

    def page(
        self, after: int = 0, limit: int = 100, status: str | None = None, address_begins: str | None = None
    ) -> list[Recipient]:
        """Up to `limit` recipients after this recipient_id, in the order in which they were added.

        With `address_begins` only those whose folded address (Address.key) begins so, in the order of that; then
        it raises NoSuchRecipient if the recipient `after` was removed meanwhile.
        """
        return recipient_lists.page(self._connection, after, limit, status, address_begins)

    def pages(self, size: int = 1000) -> Iterator[list[Recipient]]:
        """All recipients in the order in which they were added, `size` at a time."""
        after = 0
        while page := self.page(after, size):
            yield page
            after = page[-1].recipient_id

    def find(self, address: Address) -> Recipient | None:
        """The recipient with this address."""
        return recipient_lists.find(self._connection, address)

    def get(self, recipient_id: int) -> Recipient | None:
        """The recipient with this number."""
        return recipient_lists.get(self._connection, recipient_id)

    def deliveries(self, recipient_id: int, after: tuple[datetime, int] | None = None, limit: int = 100) -> HistoryPage:
        """What a recipient was sent, the latest email first, after the one of this (due_at, event_id).

        The work is bounded: a page may be short, or empty, and still have a next one.
        """
        return recipient_lists.history(self._connection, recipient_id, after, limit)

    def counts(self) -> dict[str, int]:
        """How many recipients there are of each status, exactly, at the same cost for any number."""
        return counts.by_status(self._connection, "recipients", RECIPIENT_STATUSES)

    def reactivate(self, address: Address, now: datetime) -> bool:
        """Make a recipient active again, and forget what servers said of its mailbox; False if nothing changed."""
        with self._connection.transaction():
            return self._connection.run(REACTIVATE, key=address.key) == 1

    def unsubscribe(self, recipient_id: int, now: datetime) -> bool:
        """A person wants no more: cancels what was not begun for them; False if nothing changed."""
        with self._connection.transaction():
            if not self._connection.run(UNSUBSCRIBE, recipient_id=recipient_id):
                return False
            self._cancel_deliveries(recipient_id, int(now.timestamp()))
            return True
