"""Emails: save, replace, reschedule, cancel and release them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from operator import itemgetter
from typing import NamedTuple

from storage import cancellation, status_counts
from storage.audiences import EVERYONE, Audience
from storage.cancellation import Cancelled
from storage.connection import Connection
from storage.email_listing import EmailLists
from storage.errors import EventIdUsed, NoActiveRecipients, NoSuchEmail, NotHeld, NotReplaceable
from storage.progress import ProgressTable
from storage.pruning import digest_of
from storage.values import EMAIL_STATUSES, epoch_seconds, moment, moment_or_none

TOKEN_BYTES = 12

INSERT_EMAIL = """
INSERT INTO emails (event_id, due_at, created_at, token, subject, content) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id) DO NOTHING
"""
SELECT_EMAIL = """
SELECT event_id, subject, content, due_at, status, created_at, finished_at, held_because,
    content_digest FROM emails
WHERE event_id = :event_id
"""
SELECT_TEXT = "SELECT subject, content, token, due_at, created_at, personal FROM emails WHERE event_id = :event_id"
# The token stays, because no message has been built with it.
REPLACE_UNSTARTED = """
UPDATE emails SET subject = :subject, content = :content, due_at = :due_at, created_at = :created_at,
    status = 'scheduled', held_because = NULL
WHERE event_id = :event_id AND status IN ('scheduled', 'held') AND NOT EXISTS (
    SELECT 1 FROM progress p WHERE p.event_id = emails.event_id)
"""
RESCHEDULE_UNSTARTED = """
UPDATE emails SET due_at = :due_at, status = 'scheduled', held_because = NULL
WHERE event_id = :event_id AND status IN ('scheduled', 'held') AND NOT EXISTS (
    SELECT 1 FROM progress p WHERE p.event_id = emails.event_id)
"""
RELEASE_HELD = "UPDATE emails SET status = :status, held_because = NULL WHERE event_id = :event_id AND status = 'held'"
SELECT_DUE_AT = "SELECT due_at FROM emails WHERE event_id = :event_id"


class Email(NamedTuple):
    """An email that its audience gets at `due_at` (aware, UTC, whole seconds)."""

    event_id: int
    subject: str
    content: str
    due_at: datetime
    status: str = "scheduled"
    created_at: datetime | None = None  # this and the following are set only for a saved email
    finished_at: datetime | None = None
    held_because: str | None = None
    content_digest: str | None = None  # replaces the content once that has been pruned
    audience: Audience = EVERYONE
    recipients_max: int | None = None  # held if the audience is larger than this when it is due
    reply_to: str | None = None
    from_name: str | None = None
    personal: bool = False  # whether personal fields are filled in


class SaveResult(StrEnum):
    """The result of saving an email: it was new, or its event_id is already used."""

    SAVED = "saved"
    IDENTICAL = "identical"  # by an email with the same subject, content and due time
    DIFFERENT = "different"


class ReplaceResult(StrEnum):
    """The result of saving an email whose event_id may already be used."""

    CREATED = "created"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


def require_saved(email: Email, result: SaveResult) -> None:
    """Raise EventIdUsed unless the email was saved."""
    if result is not SaveResult.SAVED:
        raise EventIdUsed(email.event_id, identical=result is SaveResult.IDENTICAL)


class TextToSend(NamedTuple):
    """The parts of an email that its messages are built from. Message-IDs derive from `token`, which never changes."""

    subject: str
    content: str
    token: str
    ready_at: int  # when it was due, or POSTed if that was later, in seconds since 1970 UTC
    reply_to: str | None = None
    from_name: str | None = None
    personal: bool = False
    list_name: str | None = None  # if it goes to exactly one list
    list_id: int | None = None


class Emails(EmailLists):
    """All emails of an installation."""

    def __init__(self, connection: Connection, progress: ProgressTable) -> None:
        self._connection = connection
        self._progress = progress

    def save(self, email: Email, now: datetime) -> None:
        """Save a new email durably. Raises EventIdUsed, even if the same email was saved before."""
        (result,) = self.save_many([email], now)
        require_saved(email, result)

    def save_many(self, emails: Sequence[Email], now: datetime) -> list[SaveResult]:
        """Save the emails whose event_ids are new, all durably or none. Return the result for each."""
        return self.save_group(lambda: [(email, now) for email in emails])

    def save_group(self, drain_queue: Callable[[], Sequence[tuple[Email, datetime]]]) -> list[SaveResult]:
        """Like `save_many`, for the emails that `drain_queue` returns in the transaction, each with its own `now`."""
        with self._connection.transaction():
            results = self._save(drain_queue())
            self._connection.notify()
        return results

    def get(self, event_id: int) -> Email | None:
        row = self._connection.fetch_one(SELECT_EMAIL, event_id=event_id)
        if row is None:
            return None
        number, subject, content, due_at, status, created_at, finished_at, why, digest = row
        times = moment(created_at), moment_or_none(finished_at)
        return Email(number, subject, content, moment(due_at), status, *times, why, digest)

    def compare(self, email: Email) -> SaveResult | None:
        """Return whether the saved email with this event_id is IDENTICAL or DIFFERENT, or None if there is none."""
        saved = self.get(email.event_id)
        if saved is None:
            return None
        return SaveResult.IDENTICAL if _is_same(email, saved) else SaveResult.DIFFERENT

    def text_to_send(self, event_id: int) -> TextToSend:
        """Return the parts of an email that its messages are built from. Raises NoSuchEmail."""
        row = self._connection.fetch_one(SELECT_TEXT, event_id=event_id)
        if row is None:
            raise NoSuchEmail(event_id)
        subject, content, token, due_at, created_at, personal = row
        return TextToSend(subject, content, token, max(due_at, created_at), personal=bool(personal))

    def replace(self, email: Email, now: datetime) -> ReplaceResult:
        """Save an email, or replace the saved one with this event_id, which makes it `scheduled`.

        Raises NotReplaceable unless the saved one is identical, scheduled, or held and not started.
        """
        with self._connection.transaction():
            (saved,) = self._save([(email, now)])
            if saved is SaveResult.SAVED:
                result = ReplaceResult.CREATED
            elif saved is SaveResult.IDENTICAL and self._progress.email_status(email.event_id) != "cancelled":
                return ReplaceResult.UNCHANGED
            else:
                self._replace(email, now)
                result = ReplaceResult.REPLACED
            self._connection.notify()
            return result

    def reschedule(self, event_id: int, due_at: datetime, now: datetime) -> None:
        """Move an email to another time, or to `now` if that time has passed. A held email is scheduled again.

        Raises NoSuchEmail, or NotReplaceable unless it is scheduled, or held and not started.
        """
        second = epoch_seconds(max(due_at, now))
        with self._connection.transaction():
            if not self._connection.execute(RESCHEDULE_UNSTARTED, event_id=event_id, due_at=second):
                raise NotReplaceable(event_id, self._progress.email_status(event_id))
            self._connection.notify()

    def counts(self) -> dict[str, int]:
        """Return the exact number of emails with each status, at the same cost for any number."""
        return status_counts.by_status(self._connection, "emails", EMAIL_STATUSES)

    def cancel(self, event_id: int, now: datetime) -> Cancelled:
        """Cancel an email at any time before it is sent. Once this returns, no more of its messages start to leave.

        Safe to repeat. Raises NoSuchEmail, or NotCancellable if it was sent.
        """
        return cancellation.cancel(self._connection, self._progress, event_id, epoch_seconds(now))

    def finish_cancels(self, now: datetime) -> None:
        """Finish cancels that were interrupted, so that none of their deliveries is queued any more."""
        for event_id in cancellation.unfinished_cancels(self._connection):
            self.cancel(event_id, now)

    def release(self, event_id: int, now: datetime) -> str:
        """Release a held email. Return its new status: `sending` if it is due or was started, otherwise `scheduled`.

        (`sent` if nothing was left to send.) Raises NoSuchEmail, NotHeld, or NoActiveRecipients; then it stays held.
        """
        second = epoch_seconds(now)
        with self._connection.transaction():
            is_started = self._progress.lock(event_id)
            due_at = self._due_at(event_id)
            # A due email is started here, so that no sweep puts it on hold again for being late.
            status = "sending" if is_started or due_at <= second else "scheduled"
            if not self._connection.execute(RELEASE_HELD, event_id=event_id, status=status):
                raise NotHeld(event_id, self._progress.email_status(event_id))
            if is_started:
                self._progress.finish_if_complete(event_id, second)
            elif status == "sending" and not self._progress.start_now(event_id, second):
                raise NoActiveRecipients(event_id)
            self._connection.notify()
            return self._progress.email_status(event_id)

    def _save(self, emails: Sequence[tuple[Email, datetime]]) -> list[SaveResult]:
        """Save emails in the open transaction, with one statement."""
        random = os.urandom(TOKEN_BYTES * len(emails)).hex()
        tokens = [random[start : start + 2 * TOKEN_BYTES] for start in range(0, len(random), 2 * TOKEN_BYTES)]
        rows = [_row(email, now, token) for (email, now), token in zip(emails, tokens, strict=True)]
        # Sorted, so that no two transactions wait for each other's rows. Of two with the same event_id, the first wins.
        if self._connection.executemany(INSERT_EMAIL, sorted(rows, key=itemgetter(0))) == len(rows):
            return [SaveResult.SAVED] * len(rows)
        return [self._save_result(email, token) for (email, _), token in zip(emails, tokens, strict=True)]

    def _save_result(self, email: Email, token: str) -> SaveResult:
        if self.text_to_send(email.event_id).token == token:
            return SaveResult.SAVED
        return self.compare(email) or SaveResult.DIFFERENT

    def _replace(self, email: Email, now: datetime) -> None:
        texts = {"event_id": email.event_id, "subject": email.subject, "content": email.content}
        times = {"due_at": epoch_seconds(email.due_at), "created_at": epoch_seconds(now)}
        if not self._connection.execute(REPLACE_UNSTARTED, **texts, **times):
            raise NotReplaceable(email.event_id, self._progress.email_status(email.event_id))

    def _due_at(self, event_id: int) -> int:
        row = self._connection.fetch_one(SELECT_DUE_AT, event_id=event_id)
        if row is None:
            raise NoSuchEmail(event_id)
        return int(row[0])


def _is_same(email: Email, saved: Email) -> bool:
    if saved.content_digest is None:
        is_same_content = email.content == saved.content
    else:
        is_same_content = digest_of(email.content) == saved.content_digest
    return is_same_content and (email.subject, email.due_at) == (saved.subject, saved.due_at)


def _row(email: Email, now: datetime, token: str) -> tuple[int, int, int, str, str, str]:
    return email.event_id, epoch_seconds(email.due_at), epoch_seconds(now), token, email.subject, email.content
