"""Emails, as they were POSTed."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

from storage.connection import Connection
from storage.errors import EventIdUsed, NoSuchEmail
from storage.times import moment, moment_or_none

SAVE = """
INSERT INTO emails (event_id, due_at, created_at, token, subject, content)
VALUES (:event_id, :due_at, :created_at, :token, :subject, :content)
ON CONFLICT (event_id) DO NOTHING
"""
GET = """
SELECT event_id, subject, content, due_at, status, created_at, finished_at, held_because,
    content_digest FROM emails
WHERE event_id = :event_id
"""
TEXT_TO_SEND = "SELECT subject, content, token FROM emails WHERE event_id = :event_id"


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
            emails = take()
            became = {}
            # In one order, so that no two transactions wait for each other's rows.
            for number in sorted(range(len(emails)), key=lambda number: emails[number][0].event_id):
                became[number] = self._save(*emails[number])
            self._connection.announce()
        return [became[number] for number in range(len(emails))]

    def _save(self, email: Email, now: datetime) -> str:
        if self._connection.run(SAVE, token=os.urandom(12).hex(), **stored(email, now)):
            return "saved"
        return "identical" if self._is_saved(email) else "different"

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
        if self._is_saved(email):
            return "identical"
        return None if self.get(email.event_id) is None else "different"

    def text_to_send(self, event_id: int) -> TextToSend:
        """What an email that is being sent is made of."""
        row = self._connection.row(TEXT_TO_SEND, event_id=event_id)
        if row is None:
            raise NoSuchEmail(event_id)
        return TextToSend(*row)

    def _is_saved(self, email: Email) -> bool:
        saved = self.get(email.event_id)
        if saved is None:
            return False
        if saved.content_digest is None:
            return saved[:4] == email[:4]
        from storage.pruning import digest_of  # what is left of a content that was pruned

        return digest_of(email.content) == saved.content_digest and saved[:4] == email._replace(content="")[:4]


def stored(email: Email, now: datetime) -> dict[str, object]:
    """The columns of an email that is POSTed now."""
    event_id, subject, content, due_at = email[:4]
    times = {"due_at": int(due_at.timestamp()), "created_at": int(now.timestamp())}
    return {"event_id": event_id, "subject": subject, "content": content, **times}
