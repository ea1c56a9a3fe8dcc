"""Emails, as they were POSTed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from storage.connection import Connection
from storage.errors import EventIdUsed, NoSuchEmail
from storage.values import moment, moment_or_none

SAVE = """
INSERT INTO emails (event_id, due_at, created_at, token, subject, content) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id) DO NOTHING
"""
TOKENS = 12  # bytes of one
GET = """
SELECT event_id, subject, content, due_at, status, created_at, finished_at, held_because,
    content_digest FROM emails
WHERE event_id = :event_id
"""
TEXT_TO_SEND = "SELECT subject, content, token, due_at, created_at FROM emails WHERE event_id = :event_id"


class Email(NamedTuple):
    """A subject and a content that every recipient gets at `due_at` (aware, UTC, whole seconds)."""

    event_id: int
    subject: str
    content: str
    due_at: datetime
    status: str = "scheduled"
    created_at: datetime | None = None  # these three are known of a saved email
    finished_at: datetime | None = None
    held_because: str | None = None
    content_digest: str | None = None  # what is left of a content that was pruned


def refuse_used(email: Email, became: str) -> None:
    """Raise EventIdUsed unless it became "saved"."""
    if became != "saved":
        raise EventIdUsed(email.event_id, identical=became == "identical")


class TextToSend(NamedTuple):
    """What a message is made of. Its Message-IDs derive from `token`, the same on every attempt."""

    subject: str
    content: str
    token: str
    ready_at: int  # the second at which it was due, or POSTed if that was later


class Emails:
    """The acts on emails."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def save(self, email: Email, now: datetime) -> None:
        """Save a new email, durably. Raises EventIdUsed, also when the same email was saved before."""
        (became,) = self.save_many([email], now)
        refuse_used(email, became)

    def save_many(self, emails: Sequence[Email], now: datetime) -> list[str]:
        """Save those that are new, all durably or none: "saved", or "identical" or "different" to one saved before."""
        return self.save_group(lambda: [(email, now) for email in emails])

    def save_group(self, take: Callable[[], Sequence[tuple[Email, datetime]]]) -> list[str]:
        """As save_many, of the emails that `take` gives once the transaction has begun, each with its own now."""
        with self._connection.transaction():
            became = self._save(take())
            self._connection.announce()
        return became

    def _save(self, emails: Sequence[tuple[Email, datetime]]) -> list[str]:
        """As save_group, inside a transaction, all in one statement."""
        random = os.urandom(TOKENS * len(emails)).hex()
        tokens = [random[begin : begin + 2 * TOKENS] for begin in range(0, len(random), 2 * TOKENS)]
        rows = [_row(email, now, token) for (email, now), token in zip(emails, tokens, strict=True)]
        # In one order, so that no two transactions wait for each other's rows; of two alike the first stays first.
        if self._connection.run_many(SAVE, sorted(rows, key=itemgetter(0))) == len(rows):
            return ["saved"] * len(rows)
        return [self._became(email, token) for (email, _), token in zip(emails, tokens, strict=True)]

    def _became(self, email: Email, token: str) -> str:
        if self.text_to_send(email.event_id).token == token:
            return "saved"
        return self.saved_as(email) or "different"

    def get(self, event_id: int) -> Email | None:
        """The email with this event_id."""
        row = self._connection.row(GET, event_id=event_id)
        if row is None:
            return None
        number, subject, content, due_at, status, created_at, finished_at, why, digest = row
        times = moment(created_at), moment_or_none(finished_at)
        return Email(number, subject, content, moment(due_at), status, *times, why, digest)

    def saved_as(self, email: Email) -> str | None:
        """What is saved under its event_id: this `identical` email, a `different` one, or None."""
        saved = self.get(email.event_id)
        if saved is None:
            return None
        return "identical" if _is_same(email, saved) else "different"

    def text_to_send(self, event_id: int) -> TextToSend:
        """What an email that is being sent is made of."""
        row = self._connection.row(TEXT_TO_SEND, event_id=event_id)
        if row is None:
            raise NoSuchEmail(event_id)
        subject, content, token, due_at, created_at = row
        return TextToSend(subject, content, token, max(due_at, created_at))


def _is_same(email: Email, saved: Email) -> bool:
    if saved.content_digest is None:
        return saved[:4] == email[:4]
    from storage.pruning import digest_of  # what is left of a content that was pruned

    return digest_of(email.content) == saved.content_digest and saved[:4] == email._replace(content="")[:4]


def _row(email: Email, now: datetime, token: str) -> tuple[int, int, int, str, str, str]:
    return email.event_id, int(email.due_at.timestamp()), int(now.timestamp()), token, email.subject, email.content
