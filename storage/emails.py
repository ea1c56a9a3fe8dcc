"""Emails: saved, replaced, rescheduled, cancelled and released."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from storage import cancellation, counts
from storage.cancellation import Cancelled
from storage.connection import Connection
from storage.email_listing import EmailLists
from storage.errors import EventIdUsed, NoActiveRecipients, NoSuchEmail, NotHeld, NotReplaceable
from storage.progress import ProgressTable
from storage.pruning import digest_of
from storage.values import EMAIL_STATUSES, moment, moment_or_none

TOKEN_BYTES = 12

SAVE = """
INSERT INTO emails (event_id, due_at, created_at, token, subject, content) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id) DO NOTHING
"""
GET = """
SELECT event_id, subject, content, due_at, status, created_at, finished_at, held_because,
    content_digest FROM emails
WHERE event_id = :event_id
"""
TEXT_TO_SEND = "SELECT subject, content, token, due_at, created_at FROM emails WHERE event_id = :event_id"
# The token stays, since no message was made with it.
REPLACE = """
UPDATE emails SET subject = :subject, content = :content, due_at = :due_at, created_at = :created_at,
    status = 'scheduled', held_because = NULL
WHERE event_id = :event_id AND status IN ('scheduled', 'held') AND NOT EXISTS (
    SELECT 1 FROM progress p WHERE p.event_id = emails.event_id)
"""
RESCHEDULE = """
UPDATE emails SET due_at = :due_at, created_at = :created_at, status = 'scheduled', held_because = NULL
WHERE event_id = :event_id AND status IN ('scheduled', 'held') AND NOT EXISTS (
    SELECT 1 FROM progress p WHERE p.event_id = emails.event_id)
"""
RELEASE = "UPDATE emails SET status = :status, held_because = NULL WHERE event_id = :event_id AND status = 'held'"
STATUS_AND_DUE_AT = "SELECT status, due_at FROM emails WHERE event_id = :event_id"


class Email(NamedTuple):
    """A subject and a content that every recipient gets at `due_at` (aware, UTC, whole seconds)."""

    event_id: int
    subject: str
    content: str
    due_at: datetime
    status: str = "scheduled"
    created_at: datetime | None = None  # this and the following are known of a saved email only
    finished_at: datetime | None = None
    held_because: str | None = None
    content_digest: str | None = None  # all that is kept of a pruned content


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


class Emails(EmailLists):
    """All emails of an installation."""

    def __init__(self, connection: Connection, progress: ProgressTable) -> None:
        self._connection = connection
        self._progress = progress

    def save(self, email: Email, now: datetime) -> None:
        """Save a new email, durably. Raises EventIdUsed, also when the same email was saved before."""
        (became,) = self.save_many([email], now)
        refuse_used(email, became)

    def save_many(self, emails: Sequence[Email], now: datetime) -> list[str]:
        """Save those that are new, all durably or none: "saved", or "identical" or "different" to one saved before."""
        return self.save_group(lambda: [(email, now) for email in emails])

    def save_group(self, take: Callable[[], Sequence[tuple[Email, datetime]]]) -> list[str]:
        """As save_many, of the emails that `take` returns once the transaction has begun, each with its own now."""
        with self._connection.transaction():
            became = self._save(take())
            self._connection.notify()
        return became

    def get(self, event_id: int) -> Email | None:
        row = self._connection.fetch_one(GET, event_id=event_id)
        if row is None:
            return None
        number, subject, content, due_at, status, created_at, finished_at, why, digest = row
        times = moment(created_at), moment_or_none(finished_at)
        return Email(number, subject, content, moment(due_at), status, *times, why, digest)

    def saved_as(self, email: Email) -> str | None:
        """Return what is saved under its event_id: this `identical` email, a `different` one, or None."""
        saved = self.get(email.event_id)
        if saved is None:
            return None
        return "identical" if _is_same(email, saved) else "different"

    def text_to_send(self, event_id: int) -> TextToSend:
        """Return what the messages of an email are made of. Raises NoSuchEmail."""
        row = self._connection.fetch_one(TEXT_TO_SEND, event_id=event_id)
        if row is None:
            raise NoSuchEmail(event_id)
        subject, content, token, due_at, created_at = row
        return TextToSend(subject, content, token, max(due_at, created_at))

    def replace(self, email: Email, now: datetime) -> str:
        """Save it under its event_id, used or not: `created`, `replaced`, or `unchanged` if it is saved as it is.

        Raises NotReplaceable unless the saved one is scheduled, or held and not started. It is scheduled then.
        """
        with self._connection.transaction():
            (became,) = self._save([(email, now)])
            if became == "saved":
                became = "created"
            elif became == "identical" and self._status(email.event_id) != "cancelled":
                return "unchanged"
            else:
                became = self._replace(email, now)
            self._connection.notify()
            return became

    def reschedule(self, event_id: int, due_at: datetime, now: datetime) -> None:
        """Move its due time, as if it were POSTed now. It is scheduled then.

        Raises NoSuchEmail, or NotReplaceable unless it is scheduled, or held and not started.
        """
        times = {"due_at": int(due_at.timestamp()), "created_at": int(now.timestamp())}
        with self._connection.transaction():
            if not self._connection.execute(RESCHEDULE, event_id=event_id, **times):
                raise NotReplaceable(event_id, self._status(event_id))
            self._connection.notify()

    def counts(self) -> dict[str, int]:
        """Return the exact number of emails of each status, at the same cost for any number."""
        return counts.by_status(self._connection, "emails", EMAIL_STATUSES)

    def cancel(self, event_id: int, now: datetime) -> Cancelled:
        """Cancel an email, up to the last moment; none of its messages starts to leave once this has returned.

        Cancelling it again changes nothing. Raises NoSuchEmail, or NotCancellable if it was sent.
        """
        return cancellation.cancel(self._connection, self._progress, event_id, int(now.timestamp()))

    def finish_cancels(self, now: datetime) -> None:
        """Finish cancels that were interrupted: none of their deliveries is queued afterwards."""
        for event_id in cancellation.cancelling(self._connection):
            self.cancel(event_id, now)

    def release(self, event_id: int, now: datetime) -> str:
        """Let a held email go out; return its new status: `sending` if it is due or was started, else `scheduled`.

        Raises NoSuchEmail, NotHeld, or NoActiveRecipients: then it stays held.
        """
        second = int(now.timestamp())
        with self._connection.transaction():
            is_started = self._progress.lock(event_id)
            _, due_at = self._status_and_due_at(event_id)
            # An email that is due starts here, so that no sweep holds it again for being late.
            status = "sending" if is_started or due_at <= second else "scheduled"
            if not self._connection.execute(RELEASE, event_id=event_id, status=status):
                raise NotHeld(event_id, self._status(event_id))
            if is_started:
                self._progress.finish_if_complete(event_id, second)
            elif status == "sending" and not self._progress.begin_at_once(event_id, second):
                raise NoActiveRecipients(event_id)
            self._connection.notify()
            return self._status(event_id)

    def _save(self, emails: Sequence[tuple[Email, datetime]]) -> list[str]:
        """Save them as save_group does, inside the open transaction and with one statement."""
        random = os.urandom(TOKEN_BYTES * len(emails)).hex()
        tokens = [random[start : start + 2 * TOKEN_BYTES] for start in range(0, len(random), 2 * TOKEN_BYTES)]
        rows = [_row(email, now, token) for (email, now), token in zip(emails, tokens, strict=True)]
        # Sorted, so that no two transactions wait for each other's rows; of two with one event_id the first wins.
        if self._connection.executemany(SAVE, sorted(rows, key=itemgetter(0))) == len(rows):
            return ["saved"] * len(rows)
        return [self._became(email, token) for (email, _), token in zip(emails, tokens, strict=True)]

    def _became(self, email: Email, token: str) -> str:
        if self.text_to_send(email.event_id).token == token:
            return "saved"
        return self.saved_as(email) or "different"

    def _replace(self, email: Email, now: datetime) -> str:
        texts = {"event_id": email.event_id, "subject": email.subject, "content": email.content}
        times = {"due_at": int(email.due_at.timestamp()), "created_at": int(now.timestamp())}
        if not self._connection.execute(REPLACE, **texts, **times):
            raise NotReplaceable(email.event_id, self._status(email.event_id))
        return "replaced"

    def _status(self, event_id: int) -> str:
        return self._status_and_due_at(event_id)[0]

    def _status_and_due_at(self, event_id: int) -> tuple[str, int]:
        row = self._connection.fetch_one(STATUS_AND_DUE_AT, event_id=event_id)
        if row is None:
            raise NoSuchEmail(event_id)
        return str(row[0]), int(row[1])


def _is_same(email: Email, saved: Email) -> bool:
    if saved.content_digest is None:
        is_same_content = email.content == saved.content
    else:
        is_same_content = digest_of(email.content) == saved.content_digest
    return is_same_content and (email.subject, email.due_at) == (saved.subject, saved.due_at)


def _row(email: Email, now: datetime, token: str) -> tuple[int, int, int, str, str, str]:
    return email.event_id, int(email.due_at.timestamp()), int(now.timestamp()), token, email.subject, email.content
