"""Everything that people and programs do with deliveries; a sweep needs only what `storage/deliveries.py` has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from storage import delivery_lists, retrying
from storage.deliveries import Deliveries
from storage.delivery_lists import Attempt, DeliveryPage, Reason
from storage.values import moment

NEXT = """
SELECT next_attempt_at FROM deliveries WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id
ORDER BY next_attempt_at LIMIT 1
"""


class DeliveryActs(Deliveries):
    """The acts on deliveries."""

    def page(self, event_id: int, after: int = 0, limit: int = 100, status: str | None = None) -> DeliveryPage:
        """Up to `limit` deliveries of an email after this recipient, of this status or of any.

        The work is bounded: a page may be short, or empty, and still have a next one.
        """
        return delivery_lists.page(self._connection, event_id, after, limit, status)

    def next_of(self, event_id: int) -> datetime | None:
        """When the next delivery of an email that is in line is to be tried; the past, if it can be now."""
        row = self._connection.row(NEXT, event_id=event_id)
        return None if row is None else moment(row[0])

    def attempts(self, event_id: int, recipient_id: int) -> list[Attempt]:
        """The tries of one delivery that did not succeed, oldest first."""
        return delivery_lists.attempts(self._connection, event_id, recipient_id)

    def attempts_of_each(self, event_id: int, recipient_ids: Sequence[int]) -> dict[int, list[Attempt]]:
        """The same of several deliveries."""
        return delivery_lists.attempts_of_each(self._connection, event_id, recipient_ids)

    def reasons(self, event_id: int, most: int = 5000) -> list[Reason]:
        """Why deliveries are failed or unknown, the most frequent reason first; of the first `most` that were tried."""
        return delivery_lists.reasons(self._connection, event_id, most)

    def retry(
        self,
        event_id: int,
        now: int,
        statuses: Sequence[str] = ("failed", "unknown"),
        recipient_ids: Iterable[int] | None = None,
    ) -> int:
        """Put failed and unknown deliveries in line again, of all recipients or of these; how many.

        Only for who is active still. The email is `sending` then. Raises NoSuchEmail, or NotRetryable unless the
        email is being sent or was.
        """
        return retrying.retry(self._connection, self._progress, event_id, now, statuses, recipient_ids)

    def decide(self, event_id: int, recipient_id: int, status: str, now: int) -> None:
        """A person says that a delivery that is `unknown` was `sent`, or that it `failed`. Raises NotInDoubt."""
        retrying.decide(self._connection, self._progress, event_id, recipient_id, status, now)

    def decide_each(self, event_id: int, status: str, now: int, recipient_ids: Iterable[int] | None = None) -> int:
        """The same of all that are `unknown` of an email, or of these recipients; how many were."""
        return retrying.decide_each(self._connection, self._progress, event_id, status, now, recipient_ids)
