"""Forgetting finished emails that are old: content, deliveries and attempts go; event_id, times and counts stay.

In short transactions, the deliveries first and the content last: who is killed in between leaves an email that the
next one finds again, and an email that a person retries meanwhile keeps all that it needs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import NamedTuple

from storage.connection import Connection
from storage.progress import ProgressTable

CHUNK = 1_000  # deliveries dropped in one transaction

OLDEST = """
SELECT event_id FROM emails
WHERE finished_at IS NOT NULL AND content_digest IS NULL AND finished_at <= :before
    AND (status = 'cancelled' OR logged = 1)
ORDER BY finished_at LIMIT 1
"""
STILL = """
SELECT content FROM emails WHERE event_id = :event_id AND finished_at <= :before AND content_digest IS NULL
"""
END_OF_CHUNK = """
SELECT MAX(recipient_id) FROM (
    SELECT recipient_id FROM deliveries WHERE event_id = :event_id AND recipient_id > :after
    ORDER BY recipient_id LIMIT :most) AS chunk
"""
DROP = "DELETE FROM {table} WHERE event_id = :event_id AND recipient_id > :after AND recipient_id <= :last"
FORGET = "UPDATE emails SET content = '', content_digest = :digest WHERE event_id = :event_id"


class Pruned(NamedTuple):
    """How many emails were forgotten, and how many deliveries."""

    emails: int
    deliveries: int


class NotPrunable(Exception):
    """Somebody retried the email, or pruned it, just now."""


def prune(connection: Connection, progress: ProgressTable, before: int, go_on: Callable[[], bool]) -> Pruned:
    """Forget what was finished before this second, as long as `go_on`, which is asked between the transactions."""
    emails = deliveries = 0
    while go_on() and (row := connection.fetch_one(OLDEST, before=before)):
        email = _Email(connection, progress, row[0], before)
        try:
            while go_on() and email.drop_some():
                pass
            emails += email.forget() if email.is_empty else 0
        except NotPrunable:
            pass
        deliveries += email.dropped
    return Pruned(emails, deliveries)


class _Email:
    """One email on its way out."""

    def __init__(self, connection: Connection, progress: ProgressTable, event_id: int, before: int) -> None:
        self.dropped = 0
        self.is_empty = False
        self._connection = connection
        self._progress = progress
        self._event_id = event_id
        self._before = before
        self._after = 0

    def drop_some(self) -> bool:
        """Drop the next deliveries, with their attempts; False: there are none left."""
        with self._connection.transaction():
            self._hold()
            chunk = {"event_id": self._event_id, "after": self._after}
            ((last,),) = self._connection.fetch_all(END_OF_CHUNK, **chunk, most=CHUNK)
            if last is None:
                self.is_empty = True
                return False
            self._connection.execute(DROP.format(table="attempts"), **chunk, last=last)
            dropped = self._connection.execute(DROP.format(table="deliveries"), **chunk, last=last)
        self.dropped += dropped
        self._after = last
        return True

    def forget(self) -> int:
        """Drop the content; a digest of it stays, by which the same email is known when it is POSTed again."""
        with self._connection.transaction():
            content = self._hold()
            return self._connection.execute(FORGET, event_id=self._event_id, digest=digest_of(content))

    def _hold(self) -> str:
        """Let nobody retry the email until the transaction ends; its content."""
        self._progress.lock(self._event_id)
        sql = f"{STILL} {self._connection.for_update}"
        row = self._connection.fetch_one(sql, event_id=self._event_id, before=self._before)
        if row is None:
            raise NotPrunable
        return str(row[0])


def digest_of(content: str) -> str:
    """What is kept of a content that was pruned."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()
