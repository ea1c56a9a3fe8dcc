"""Emails: save, replace, reschedule, cancel and release them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from enum import StrEnum
from operator import itemgetter
from typing import NamedTuple, cast

from storage import cancellation, status_counts
from storage.audiences.audiences import EVERYONE, Audience, Audiences, ListIds
from storage.cancellation import Cancelled
from storage.connection import Connection
from storage.email_listing import EmailLists
from storage.errors import (
    DBError,
    EmailChanged,
    EventIdUsed,
    NoActiveRecipients,
    NoSuchEmail,
    NotHeld,
    NotReplaceable,
)
from storage.progress import ProgressTable
from storage.pruning import digest_of
from storage.values import EMAIL_STATUSES, epoch_seconds, moment, moment_or_none

TOKEN_BYTES = 12

INSERT_EMAIL = """
INSERT INTO emails (event_id, due_at, created_at, token, subject, content, audience, recipients_max, personal, reply_to,
    from_name)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id) DO NOTHING
"""
SELECT_EMAIL = """
SELECT event_id, subject, content, due_at, status, created_at, finished_at, held_because,
    content_digest, audience, recipients_max, reply_to, from_name, personal FROM emails
WHERE event_id = :event_id
"""
SELECT_TEXT = """
SELECT e.subject, e.content, e.token, e.due_at, e.created_at, e.reply_to, e.from_name, e.personal, (
    SELECT MIN(l.name) FROM audiences a CROSS JOIN lists l
    WHERE a.event_id = e.event_id AND a.excluded = 0 AND l.list_id = a.list_id HAVING COUNT(*) = 1), (
    SELECT MIN(a.list_id) FROM audiences a WHERE a.event_id = e.event_id AND a.excluded = 0 HAVING COUNT(*) = 1)
FROM emails e WHERE e.event_id = :event_id
"""
# The token stays, because no message has been built with it.
REPLACE_UNSTARTED = """
UPDATE emails SET subject = :subject, content = :content, due_at = :due_at, created_at = :created_at,
    audience = :audience, recipients_max = :recipients_max, personal = :personal, reply_to = :reply_to,
    from_name = :from_name, status = 'scheduled', held_because = NULL
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

    @property
    def version(self) -> str:
        """A digest of everything that can be edited. It is the same for two emails that differ only in their status."""
        parts = (self.content_digest or digest_of(self.content), _facts(self), self.audience.keys())
        return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


class SaveResult(StrEnum):
    """The result of saving an email: it was new, or its event_id is already used."""

    SAVED = "saved"
    IDENTICAL = "identical"  # by an email with the same subject, content, due time, audience and so on
    DIFFERENT = "different"


class ReplaceResult(StrEnum):
    """The result of saving an email whose event_id may already be used."""

    CREATED = "created"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


def require_saved(email: Email, result: SaveResult | DBError) -> None:
    """Raise EventIdUsed, or the error that is the result, unless the email was saved."""
    if isinstance(result, DBError):
        raise result
    if result is not SaveResult.SAVED:
        raise EventIdUsed(email.event_id, identical=result is SaveResult.IDENTICAL)


class TextToSend(NamedTuple):
    """The parts of an email that its messages are built from. Message-IDs derive from `token`, which never changes."""

    subject: str
    content: str
    token: str
    ready_at: int  # when it was due, or submitted if that was later, in seconds since 1970 UTC
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
        self._audiences = Audiences(connection)

    def save(self, email: Email, now: datetime) -> None:
        """Save a new email durably. Raises EventIdUsed, even if the same email was saved before.

        Also raises NoSuchList, ListArchived or ListInBoth for its audience.
        """
        (result,) = self.save_many([email], now)
        require_saved(email, result)

    def save_many(self, emails: Sequence[Email], now: datetime) -> list[SaveResult]:
        """Save the emails whose event_ids are new, all durably or none. Return the result for each.

        Raises NoSuchList, ListArchived or ListInBoth for the first email with such an audience.
        """
        with self._connection.transaction():
            results = self._save([(email, now) for email in emails])
            for error in results:
                if isinstance(error, DBError):
                    raise error
            self._connection.notify()
        return cast("list[SaveResult]", results)

    def save_group(self, drain_queue: Callable[[], Sequence[tuple[Email, datetime]]]) -> list[SaveResult | DBError]:
        """Save the emails that `drain_queue` returns in the transaction, each with its own `now`.

        Return the result for each: an error if a list of its audience cannot be used. The others are saved.
        """
        with self._connection.transaction():
            results = self._save(drain_queue())
            self._connection.notify()
        return results

    def get(self, event_id: int) -> Email | None:
        row = self._connection.fetch_one(SELECT_EMAIL, event_id=event_id)
        if row is None:
            return None
        number, subject, content, due_at, status, created_at, finished_at, why, digest, kind, *others, personal = row
        times = moment(created_at), moment_or_none(finished_at)
        audience = self._audiences.get(event_id, kind)
        email = Email(number, subject, content, moment(due_at), status, *times, why, digest, audience, *others)
        return email._replace(personal=bool(personal))

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
        subject, content, token, due_at, created_at, reply_to, from_name, personal, *only_list = row
        ready_at = max(due_at, created_at)
        return TextToSend(subject, content, token, ready_at, reply_to, from_name, bool(personal), *only_list)

    def replace(self, email: Email, now: datetime, version: str | None = None) -> ReplaceResult:
        """Save an email, or replace the saved one with this event_id, which makes it `scheduled`.

        Raises NotReplaceable unless the saved one is identical, scheduled, or held and not started; and NoSuchList,
        ListArchived or ListInBoth for its audience. With the `version` of the saved one as it was read, this also
        raises EmailChanged if it has another version now, or NoSuchEmail if there is none.
        """
        with self._connection.transaction():
            if version is not None:
                self._require_version(email, version)
            (saved,) = self._save([(email, now)])
            if isinstance(saved, DBError):
                raise saved
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

    def withdraw(self, event_id: int, now: datetime) -> None:
        """Cancel an email that has not been started. Raises NoSuchEmail, or NotReplaceable if that is too late."""
        cancellation.withdraw(self._connection, self._progress, event_id, epoch_seconds(now))

    def finish_cancels(self, now: datetime) -> None:
        """Finish cancels that were interrupted, so that none of their deliveries are still queued."""
        for event_id in cancellation.unfinished_cancels(self._connection):
            self.cancel(event_id, now)

    def release(self, event_id: int, now: datetime) -> str:
        """Release a held email. Return its new status: `sending` if it is due or was started, otherwise `scheduled`.

        (`sent` if nothing was left to send.) Raises NoSuchEmail, NotHeld, or NoActiveRecipients; then it stays held.
        """
        second = epoch_seconds(now)
        snapshot = self._progress.snapshot(event_id)
        with self._connection.transaction():
            stuck = self._progress.why_stuck(event_id)  # first, as lists are locked before `progress`
            is_started = self._progress.lock(event_id)
            due_at = self._due_at(event_id)
            # A due email is started here, so that no sweep puts it on hold again for being late.
            status = "sending" if is_started or due_at <= second else "scheduled"
            if not self._connection.execute(RELEASE_HELD, event_id=event_id, status=status):
                raise NotHeld(event_id, self._progress.email_status(event_id))
            is_created = is_started and self._progress.remaining_recipients(event_id) is None
            reason = None if is_created else stuck
            if reason is None and is_started:
                self._progress.finish_if_complete(event_id, second)
            elif reason is None and status == "sending":
                reason = self._progress.start_now(event_id, second, snapshot)
            if reason is not None:
                raise NoActiveRecipients(event_id, reason)
            self._connection.notify()
            return self._progress.email_status(event_id)

    def _save(self, emails: Sequence[tuple[Email, datetime]]) -> list[SaveResult | DBError]:
        """Save emails in the open transaction, with one statement if they are all for everyone."""
        random = os.urandom(TOKEN_BYTES * len(emails)).hex()
        tokens = [random[start : start + 2 * TOKEN_BYTES] for start in range(0, len(random), 2 * TOKEN_BYTES)]
        for email, _ in emails:
            if email.audience is not EVERYONE:
                return self._save_with_audiences(emails, tokens)
        if self._insert(emails, tokens):
            return [SaveResult.SAVED] * len(emails)
        return [
            self._result(email, self._is_saved(email, token)) for (email, _), token in zip(emails, tokens, strict=True)
        ]

    def _save_with_audiences(
        self, emails: Sequence[tuple[Email, datetime]], tokens: Sequence[str]
    ) -> list[SaveResult | DBError]:
        """Save the emails whose lists can be used, with their audiences. The result for the others is their error."""
        lists = self._audiences.resolve_each(email.audience for email, _ in emails)
        errors = {number: each for number, each in enumerate(lists) if isinstance(each, DBError)}
        usable = [number for number in range(len(emails)) if number not in errors]
        are_new = self._insert([emails[number] for number in usable], [tokens[number] for number in usable])
        saved = {number for number in usable if are_new or self._is_saved(emails[number][0], tokens[number])}
        self._audiences.insert([_with_audience(*emails[number], lists[number]) for number in sorted(saved)])
        # A repeated POST is answered in the same way after one of its lists was deleted or archived.
        return [self._result(email, number in saved, errors.get(number)) for number, (email, _) in enumerate(emails)]

    def _insert(self, emails: Sequence[tuple[Email, datetime]], tokens: Sequence[str]) -> bool:
        """Insert the emails whose event_ids are new, with one statement. Return whether all were."""
        rows = [_row(email, now, token) for (email, now), token in zip(emails, tokens, strict=True)]
        # Sorted, so that no two transactions wait for each other's rows. Of two with the same event_id, the first wins.
        return not rows or self._connection.insert(INSERT_EMAIL, sorted(rows, key=itemgetter(0))) == len(rows)

    def _is_saved(self, email: Email, token: str) -> bool:
        return self.text_to_send(email.event_id).token == token

    def _result(self, email: Email, is_saved: bool, error: DBError | None = None) -> SaveResult | DBError:
        if is_saved:
            return SaveResult.SAVED
        return self.compare(email) or error or SaveResult.DIFFERENT

    def _replace(self, email: Email, now: datetime) -> None:
        second = epoch_seconds(now)
        lists = self._audiences.resolve(email.audience)
        texts = {"event_id": email.event_id, "subject": email.subject, "content": email.content}
        times = {"due_at": epoch_seconds(email.due_at), "created_at": second}
        if not self._connection.execute(REPLACE_UNSTARTED, **texts, **times, **_options(email)):
            raise NotReplaceable(email.event_id, self._progress.email_status(email.event_id))
        self._audiences.replace(email.event_id, email.audience, lists, second)

    def _require_version(self, email: Email, version: str) -> None:
        """Lock the saved email. Raises NoSuchEmail, NotReplaceable or EmailChanged."""
        self._audiences.resolve(email.audience)  # first, as lists are locked before emails
        status = self._progress.email_status(email.event_id, lock=True)
        if status not in ("scheduled", "held") or self._progress.get(email.event_id) is not None:
            raise NotReplaceable(email.event_id, status)
        saved = self.get(email.event_id)
        if saved is None or saved.version != version:
            raise EmailChanged(email.event_id)

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
    return is_same_content and _facts(email) == _facts(saved) and email.audience.is_same(saved.audience)


def _facts(email: Email) -> tuple[object, ...]:
    return email.subject, email.due_at, *_options(email).values()


def _options(email: Email) -> dict[str, object]:
    return {
        "audience": email.audience.kind,
        "recipients_max": email.recipients_max,
        "personal": int(email.personal),
        "reply_to": email.reply_to,
        "from_name": email.from_name,
    }


def _row(email: Email, now: datetime, token: str) -> tuple[object, ...]:
    event_id, subject, content, due_at, _, _, _, _, _, audience, recipients_max, reply_to, from_name, personal = email
    kind = "everyone" if audience is EVERYONE else audience.kind  # this runs for every POST
    seconds = epoch_seconds(due_at), epoch_seconds(now)
    return event_id, *seconds, token, subject, content, kind, recipients_max, int(personal), reply_to, from_name


def _with_audience(email: Email, now: datetime, lists: ListIds | DBError) -> tuple[int, Audience, ListIds, int]:
    return email.event_id, email.audience, cast(ListIds, lists), epoch_seconds(now)
