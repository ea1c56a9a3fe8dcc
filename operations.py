"""The operations on emails, written once for the API, the pages and the commands.

Each operation commits its change first and schedules the wake-up for it afterwards, because a wake-up that arrives
before the commit would find nothing to do. Nothing here depends on HTTP; the callers check the input and report the
result.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from database import (
    RETRYABLE_STATUSES,
    AudienceCount,
    Cancelled,
    Database,
    DBError,
    Email,
    EmailSummary,
    EmailWriter,
    NoSuchEmail,
    ReplaceResult,
    Restored,
    SaveResult,
)

if TYPE_CHECKING:
    from schedulers.redis_queue import WakeUps


# Why deliveries cannot be retried, in the singular and the plural.
BLOCKED_WORDS = {
    "left": ("recipient has left the list", "recipients have left the list"),
    "rejected": ("recipient is rejected", "recipients are rejected"),
    "removed": ("recipient was removed", "recipients were removed"),
    "unsubscribed": ("recipient has unsubscribed", "recipients have unsubscribed"),
}


class Released(NamedTuple):
    """The new status of a released email (`scheduled`, `sending` or `sent`), and when it was or is due."""

    status: str
    due_at: datetime


def save_email(writer: EmailWriter, wake_ups: WakeUps | None, email: Email, now: datetime) -> None:
    """Save a new email durably, in one transaction with those of other threads. Raises EventIdUsed."""
    writer.save(email, now)
    wake_at(wake_ups, email.due_at)


def save_from_draft(
    database: Database,
    wake_ups: WakeUps | None,
    email: Email,
    now: datetime,
    draft_id: int,
    version: int,
) -> bool:
    """Save a new email, and delete the draft that it was written in, in one transaction.

    Return whether the draft was deleted. It is kept if it is no longer at `version`. Raises EventIdUsed.
    """
    deleted = database.drafts.schedule(email, draft_id, version, now)
    wake_at(wake_ups, email.due_at)
    return deleted


def save_emails(
    database: Database, wake_ups: WakeUps | None, emails: Sequence[Email], now: datetime
) -> Sequence[SaveResult | DBError]:
    """Save the emails that are new, all durably or none. Return the result for each.

    It is NoSuchList, ListArchived or ListInBoth for an email whose audience cannot be used; the others are saved.
    """
    results = database.emails.save_group(lambda: [(email, now) for email in emails])
    saved = (email for email, result in zip(emails, results, strict=True) if result is SaveResult.SAVED)
    for due_at in sorted({email.due_at for email in saved}):
        wake_at(wake_ups, due_at)
    return results


def replace_email(
    database: Database, wake_ups: WakeUps | None, email: Email, now: datetime, version: str | None = None
) -> ReplaceResult:
    """Save an email, or replace the one with its event_id.

    Raises NotReplaceable unless the saved email is scheduled, or held and not started. With the `version` of the saved
    email as it was read, also raises EmailChanged if someone else has changed it, or NoSuchEmail.
    """
    result = database.emails.replace(email, now, version)
    wake_at(wake_ups, email.due_at)
    return result


def cancel_email(database: Database, wake_ups: WakeUps | None, event_id: int, now: datetime) -> Cancelled:
    """Cancel an email. Once this returns, no more of its messages start to leave. Safe to repeat.

    Raises NoSuchEmail, or NotCancellable if it was sent.
    """
    return database.emails.cancel(event_id, now)


def undo_sending(
    database: Database, wake_ups: WakeUps | None, event_id: int, now: datetime, due_at: datetime | None = None
) -> bool:
    """Stop an email that is about to be sent: move it back to `due_at` if that is still ahead, or cancel it.

    Return whether it was moved back. No message has left. Raises NoSuchEmail, or NotReplaceable if it has been
    started, or cancelled.
    """
    if due_at is not None and due_at > now:
        reschedule_email(database, wake_ups, event_id, due_at, now)
        return True
    database.emails.withdraw(event_id, now)
    return False


def release_email(database: Database, wake_ups: WakeUps | None, event_id: int, now: datetime) -> Released:
    """Release a held email. It is sent now if it is due or was started, otherwise at its due time.

    Raises NoSuchEmail, NotHeld, or NoActiveRecipients; then it stays held.
    """
    status = database.emails.release(event_id, now)
    due_at = get_summary(database, event_id).due_at
    wake_at(wake_ups, max(due_at, now))
    return Released(status, due_at)


def reschedule_email(
    database: Database, wake_ups: WakeUps | None, event_id: int, due_at: datetime, now: datetime
) -> None:
    """Move an email to another time. A held email is scheduled again.

    Raises NoSuchEmail, or NotReplaceable unless it is scheduled, or held and not started.
    """
    database.emails.reschedule(event_id, due_at, now)
    wake_at(wake_ups, due_at)


def retry_deliveries(
    database: Database,
    wake_ups: WakeUps | None,
    event_id: int,
    now: datetime,
    statuses: Sequence[str] = RETRYABLE_STATUSES,
    recipient_ids: Collection[int] = (),
) -> int:
    """Queue the deliveries of an email that have one of `statuses` again. Return how many.

    `recipient_ids` limits this to some recipients; empty means all. Inactive recipients are skipped. Raises
    NoSuchEmail, or NotRetryable unless the email is being sent or was sent.
    """
    queued = database.deliveries.retry(event_id, now, statuses, recipient_ids or None)
    wake_at(wake_ups, now)
    return queued


def reactivate_and_retry(database: Database, wake_ups: WakeUps | None, event_id: int, now: datetime) -> tuple[int, int]:
    """Make the rejected recipients of failed deliveries active again, and queue all failed deliveries.

    Return the number of reactivated recipients, and the number of queued deliveries, which is higher if there were
    other failed deliveries. Raises NoSuchEmail, or NotRetryable unless the email is being sent or was sent.
    """
    reactivated = database.deliveries.reactivate_rejected(event_id)
    return reactivated, retry_deliveries(database, wake_ups, event_id, now, ["failed"])


def undo_removal(database: Database, wake_ups: WakeUps | None, removal_id: int, now: datetime) -> Restored:
    """Restore the recipients of a removal, and queue their deliveries again. Raises NoSuchRemoval if it is too late."""
    restored = database.recipients.undo_removal(removal_id, now)
    wake_at(wake_ups, now)
    return restored


def blocked_deliveries(
    database: Database,
    event_id: int,
    statuses: Sequence[str] = RETRYABLE_STATUSES,
    recipient_ids: Collection[int] = (),
) -> dict[str, int]:
    """Return how many deliveries a retry would skip, by reason: `rejected`, `unsubscribed`, `removed` or `left`."""
    return database.deliveries.standings(event_id, recipient_ids or None).blocked(*statuses)


def why_blocked(blocked: Mapping[str, int]) -> str:
    """Return the reasons as text, such as `8 recipients are rejected and 1 recipient was removed`."""
    parts = [f"{count:,} {BLOCKED_WORDS[reason][count != 1]}" for reason, count in blocked.items()]
    return " and ".join([", ".join(parts[:-1]), parts[-1]] if len(parts) > 1 else parts)


def decide_deliveries(
    database: Database,
    wake_ups: WakeUps | None,
    event_id: int,
    status: str,
    now: datetime,
    recipient_ids: Collection[int] = (),
) -> int:
    """Record an operator's decision that `unknown` deliveries of an email were `sent`, or that they `failed`.

    Return how many there were. `recipient_ids` limits this to some recipients; empty means all. Raises NoSuchEmail.
    """
    get_summary(database, event_id)
    return database.deliveries.decide_each(event_id, status, now, recipient_ids or None)


def decide_delivery(
    database: Database, wake_ups: WakeUps | None, event_id: int, recipient_id: int, status: str, now: datetime
) -> None:
    """Record an operator's decision about one delivery. Raises NotInDoubt unless it is `unknown`."""
    database.deliveries.decide(event_id, recipient_id, status, now)


def get_email(database: Database, event_id: int) -> Email:
    """Return an email with its content. Raises NoSuchEmail."""
    email = database.emails.get(event_id)
    if email is None:
        raise NoSuchEmail(event_id)
    return email


def get_summary(database: Database, event_id: int) -> EmailSummary:
    """Return an email's status, times and counts. Raises NoSuchEmail."""
    summary = database.emails.summary(event_id)
    if summary is None:
        raise NoSuchEmail(event_id)
    return summary


def count_recipients(database: Database, email: EmailSummary) -> AudienceCount | None:
    """Return how many recipients an email has now, or None if it has been started or cancelled."""
    if email.started_at is not None or email.status not in ("scheduled", "held"):
        return None
    return database.audiences.count_of(email.event_id, email.audience)


def wake_at(wake_ups: WakeUps | None, due_at: datetime) -> None:
    """Schedule a sweep at that second, if SCHEDULER uses Redis (`wake_ups` is not None). Never raises."""
    if wake_ups is not None:
        wake_ups.at(int(due_at.timestamp()))
