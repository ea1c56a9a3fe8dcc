"""Everything that people and programs do with emails; a sweep needs only what `storage/emails.py` has."""

from __future__ import annotations

from datetime import datetime

from storage import cancelling, counts, email_lists, releasing
from storage.cancelling import Cancelled
from storage.connection import Connection
from storage.email_lists import EmailSummary
from storage.emails import Email, Emails
from storage.errors import NoSuchEmail, NotReplaceable
from storage.progress import ProgressTable
from storage.values import EMAIL_STATUSES

# As if it were POSTed now; its token stays, since no message was made with it.
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
STATUS = "SELECT status FROM emails WHERE event_id = :event_id"


class EmailActs(Emails):
    """The acts on emails."""

    def __init__(self, connection: Connection, progress: ProgressTable) -> None:
        super().__init__(connection)
        self._progress = progress

    def replace(self, email: Email, now: datetime) -> str:
        """Save it under its event_id, used or not: `created`, `replaced`, or `unchanged` if it is saved as it is.

        Raises NotReplaceable unless the saved one is scheduled, or held and never begun. It is scheduled then.
        """
        with self._connection.transaction():
            (became,) = self._save([(email, now)])
            if became == "saved":
                became = "created"
            elif became == "identical" and self._status(email.event_id) != "cancelled":
                return "unchanged"
            else:
                became = self._replace(email, now)
            self._connection.announce()
            return became

    def reschedule(self, event_id: int, due_at: datetime, now: datetime) -> None:
        """Move its due time, as if it were POSTed now. It is scheduled then.

        Raises NoSuchEmail, or NotReplaceable unless it is scheduled, or held and never begun.
        """
        times = {"due_at": int(due_at.timestamp()), "created_at": int(now.timestamp())}
        with self._connection.transaction():
            if not self._connection.run(RESCHEDULE, event_id=event_id, **times):
                raise NotReplaceable(event_id, self._status(event_id))
            self._connection.announce()

    def page(
        self,
        after: tuple[datetime, int] | None = None,
        limit: int = 100,
        status: str | None = None,
        newest_first: bool = False,
    ) -> list[EmailSummary]:
        """Up to `limit` emails after the one of this (due_at, event_id), in that order, or against it."""
        return email_lists.page(self._connection, after, limit, status, newest_first)

    def page_with_failures(self, after: tuple[datetime, int] | None = None, limit: int = 100) -> list[EmailSummary]:
        """Up to `limit` emails with failed or unknown deliveries, the latest begun first.

        They go on after the one of this (started_at, event_id).
        """
        return email_lists.page_with_failures(self._connection, after, limit)

    def summary(self, event_id: int) -> EmailSummary | None:
        """The email with this event_id, without its content."""
        return email_lists.summary(self._connection, event_id)

    def counts(self) -> dict[str, int]:
        """How many emails there are of each status, exactly, at the same cost for any number."""
        return counts.by_status(self._connection, "emails", EMAIL_STATUSES)

    def cancel(self, event_id: int, now: datetime) -> Cancelled:
        """Cancel an email, up to the last moment; nothing of it begins to leave once this has returned.

        Cancelling it again changes nothing. Raises NoSuchEmail, or NotCancellable when it was sent.
        """
        return cancelling.cancel(self._connection, self._progress, event_id, int(now.timestamp()))

    def finish_cancels(self, now: datetime) -> None:
        """Go on with what was broken off in the middle of a cancel: nothing of it is in line afterwards."""
        for event_id in cancelling.cancelling(self._connection):
            self.cancel(event_id, now)

    def release(self, event_id: int, now: datetime) -> str:
        """Let a held email go out; its status then: `sending` if it is due or was begun, else `scheduled`.

        Raises NoSuchEmail, NotHeld, or NoActiveRecipients: then it stays held.
        """
        return releasing.release(self._connection, self._progress, event_id, int(now.timestamp()))

    def _replace(self, email: Email, now: datetime) -> str:
        texts = {"event_id": email.event_id, "subject": email.subject, "content": email.content}
        times = {"due_at": int(email.due_at.timestamp()), "created_at": int(now.timestamp())}
        if not self._connection.run(REPLACE, **texts, **times):
            raise NotReplaceable(email.event_id, self._status(email.event_id))
        return "replaced"

    def _status(self, event_id: int) -> str:
        row = self._connection.row(STATUS, event_id=event_id)
        if row is None:
            raise NoSuchEmail(event_id)
        return str(row[0])
