"""Prune old finished emails: delete their content, deliveries and attempts; keep their event_id, times and counts.

This runs in many short transactions. The content is deleted last: if the process is killed before that, the next one
finds the email again, and an email that is retried in the meantime still has everything it needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from storage.connection import Connection
from storage.idle import OLDEST_PRUNABLE
from storage.progress import ProgressTable

BATCH_SIZE = 1_000  # deliveries deleted in one transaction

SELECT_PRUNABLE_CONTENT = """
SELECT content FROM emails WHERE event_id = :event_id AND finished_at <= :before AND content_digest IS NULL
"""
SELECT_END_OF_BATCH = """
SELECT MAX(recipient_id) FROM (
    SELECT recipient_id FROM deliveries WHERE event_id = :event_id AND recipient_id > :after
    ORDER BY recipient_id LIMIT :limit) AS batch
"""
DELETE_BATCH = "DELETE FROM {table} WHERE event_id = :event_id AND recipient_id > :after AND recipient_id <= :last"
DELETE_CONTENT = "UPDATE emails SET content = '', content_digest = :digest WHERE event_id = :event_id"


class Pruned(NamedTuple):
    """The numbers of emails pruned and deliveries deleted."""

    emails: int
    deliveries: int


class NotPrunable(Exception):
    """The email was just retried, or pruned by another process."""


def prune(connection: Connection, progress: ProgressTable, before: int, go_on: Callable[[], bool]) -> Pruned:
    """Prune emails that were finished by the second `before`, while `go_on()`, which is called between transactions."""
    emails = deliveries = 0
    while go_on() and (row := connection.fetch_one(OLDEST_PRUNABLE, before=before)):
        email = _Email(connection, progress, row[0], before)
        try:
            while go_on() and email.delete_some():
                pass
            emails += email.delete_content() if email.is_empty else 0
        except NotPrunable:
            pass
        deliveries += email.deleted
    return Pruned(emails, deliveries)


class _Email:
    """One email that is being pruned."""

    def __init__(self, connection: Connection, progress: ProgressTable, event_id: int, before: int) -> None:
        self.deleted = 0
        self.is_empty = False
        self._connection = connection
        self._progress = progress
        self._event_id = event_id
        self._before = before
        self._after = 0

    def delete_some(self) -> bool:
        """Delete the next batch of deliveries and their attempts. Return False if none are left."""
        with self._connection.transaction():
            self._lock()
            batch = {"event_id": self._event_id, "after": self._after}
            ((last,),) = self._connection.fetch_all(SELECT_END_OF_BATCH, **batch, limit=BATCH_SIZE)
            if last is None:
                self.is_empty = True
                return False
            self._connection.execute(DELETE_BATCH.format(table="attempts"), **batch, last=last)
            deleted = self._connection.execute(DELETE_BATCH.format(table="deliveries"), **batch, last=last)
        self.deleted += deleted
        self._after = last
        return True

    def delete_content(self) -> int:
        """Replace the content with its digest, by which the same email is recognised if it is POSTed again.

        Return the number of emails changed.
        """
        with self._connection.transaction():
            content = self._lock()
            return self._connection.execute(DELETE_CONTENT, event_id=self._event_id, digest=digest_of(content))

    def _lock(self) -> str:
        """Lock the email, so that it cannot be retried until the transaction ends. Return its content.

        Raises NotPrunable.
        """
        self._progress.lock(self._event_id)
        sql = f"{SELECT_PRUNABLE_CONTENT} {self._connection.for_update}"
        row = self._connection.fetch_one(sql, event_id=self._event_id, before=self._before)
        if row is None:
            raise NotPrunable
        return str(row[0])


def digest_of(content: str) -> str:
    """Return the digest that replaces pruned content: SHA-256 in hexadecimal."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
