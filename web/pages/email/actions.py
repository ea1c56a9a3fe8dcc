"""The forms on the page of an email. Each redirects to the page with a message about the result.

If the email has changed in the meantime, the message says so, and nothing is changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from flask import Blueprint, Response, flash, redirect, request, url_for
from markupsafe import Markup

import operations
from database import (
    DELIVERY_STATUSES,
    RETRYABLE_STATUSES,
    Cancelled,
    NoActiveRecipients,
    NotReplaceable,
    WrongStatus,
)
from intake.email_fields import clean_local_time, clean_time
from intake.errors import BadTime, BadTimestamp
from intake.fields import Fields, choice, number
from monitoring.humanize import pluralize
from operations import get_summary, why_blocked
from web.errors import error_answer
from web.pages.email.view import email_page, not_started, read_query
from web.pages.email.wording import delivery_words, in_mode
from web.pages.filters import format_datetime, relative_time
from web.pages.undo import undo_deadline
from web.services import current_settings, in_database, perform

# For an email that someone else or the sender has changed in the meantime; with and without a mail server.
MEANWHILE = {
    "scheduled": ("It is now scheduled",) * 2,
    "sending": ("It is now being sent", "It is now being saved in the outbox"),
    "sent": ("It has been sent in the meantime", "It has been saved in the outbox in the meantime"),
    "held": ("It is now on hold",) * 2,
    "cancelled": ("It has been cancelled in the meantime",) * 2,
}
MAX_TICKED = 1_000  # deliveries
NOTHING_TICKED = "Select at least one delivery."

blueprint = Blueprint("actions", __name__)


@blueprint.post("/emails/<event_id:event_id>/cancel")
def cancel(event_id: int) -> Response:
    return _done(event_id, _cancelled(perform(operations.cancel_email, event_id, datetime.now(UTC))))


@blueprint.post("/emails/<event_id:event_id>/release")
def release(event_id: int) -> Response:
    """Release an email. If it would be sent now, although the page promised a later time, that is asked first."""
    now = datetime.now(UTC)
    if request.form.get("expected") == "scheduled":
        summary = in_database(lambda database: get_summary(database, event_id))
        if summary.status == "held" and summary.due_at <= now:
            return _done(
                event_id, "Not released: its time has passed in the meantime, so it would be sent now.", "warning"
            )
    status, due_at = perform(operations.release_email, event_id, now)
    if status == "scheduled":
        return _done(event_id, Markup("Released. It will be sent {}.").format(_time(due_at)))
    return _done(event_id, f"Released. {_begins()}")


@blueprint.post("/emails/<event_id:event_id>/reschedule")
def reschedule(event_id: int) -> Response:
    """Reschedule an email. A time that has passed needs `confirmed`, because the email is then sent now.

    It is then due in ten seconds, and until then the page offers to undo that.
    """
    typed, offset = request.form.get("timestamp", ""), request.form.get("offset", "")
    confirmed = request.form.get("confirmed") == "yes"
    try:
        due_at = clean_local_time(typed, current_settings().timezone, offset)
    except BadTimestamp as error:
        page = email_page(read_query(event_id), typed, error)
        page.status_code = 400
        return page
    now = datetime.now(UTC)
    if due_at <= now:
        summary = in_database(lambda database: get_summary(database, event_id))
        if not confirmed and not_started(summary):
            return email_page(read_query(event_id), typed, past=due_at)
        perform(operations.reschedule_email, event_id, undo_deadline(), now)
        was = summary.due_at.isoformat() if summary.status == "scheduled" and summary.due_at > now else "now"
        return redirect(url_for("pages.email.show", event_id=event_id, undo=was), 303)  # type: ignore[return-value]
    perform(operations.reschedule_email, event_id, due_at, now)
    return _done(event_id, Markup("Rescheduled. It will be sent {}.").format(_time(due_at)))


@blueprint.post("/emails/<event_id:event_id>/undo")
def undo(event_id: int) -> Response:
    """Stop an email that is about to be sent: move it back to its former time, or show the form, filled in from it."""
    was = request.form.get("was", "now")
    try:
        due_at = None if was == "now" else clean_time(was, current_settings().timezone)
        moved_back = perform(operations.undo_sending, event_id, datetime.now(UTC), due_at)
    except BadTime as error:
        return error_answer(400, str(error))
    except NotReplaceable as error:
        return _done(event_id, f"Too late to undo. {in_mode(*MEANWHILE[error.status])}.", "warning")
    if moved_back and due_at is not None:
        return _done(event_id, Markup("Undone. It will be sent {}.").format(_time(due_at)))
    flash("Undone. It was not sent to anyone. You can change it below, and send it as a new email.")
    return redirect(f"/emails/new?again={event_id}", 303)  # type: ignore[return-value]


@blueprint.post("/emails/<event_id:event_id>/retry")
def retry(event_id: int) -> Response:
    """Retry deliveries: the selected ones, all with one status, or failed ones after reactivating their recipients."""
    which, ids = _which("ticked", "rejected", *RETRYABLE_STATUSES)
    if which == "ticked" and not ids:
        return _done(event_id, NOTHING_TICKED, "warning")
    if which == "rejected":
        reactivated, queued = perform(operations.reactivate_and_retry, event_id, datetime.now(UTC))
        active = f"Reactivated {pluralize(reactivated, 'recipient')}. " if reactivated else ""
        return _done(event_id, active + _retried(queued, queued, {}), "message" if queued else "warning")
    statuses = RETRYABLE_STATUSES if which == "ticked" else (which,)
    queued = perform(operations.retry_deliveries, event_id, datetime.now(UTC), statuses, ids)
    blocked = in_database(lambda database: operations.blocked_deliveries(database, event_id, statuses, ids))
    return _done(event_id, _retried(queued, len(ids), blocked), "message" if queued else "warning")


@blueprint.post("/emails/<event_id:event_id>/decide")
def decide(event_id: int) -> Response:
    """Resolve unknown deliveries, the selected ones or all: record whether they were sent."""
    which, ids = _which("ticked", "unknown")
    fields = _form("status")
    status = fields.take("status", choice("sent", "failed"))
    fields.check()
    if which == "ticked" and not ids:
        return _done(event_id, NOTHING_TICKED, "warning")
    decided = perform(operations.decide_deliveries, event_id, status.value, datetime.now(UTC), ids)
    if not decided:
        return _done(event_id, "None of these deliveries is unconfirmed any longer. Nothing changed.", "warning")
    return _done(
        event_id,
        f"Marked {pluralize(decided, 'delivery', 'deliveries')} as {delivery_words()[status.value]}.",
    )


@blueprint.errorhandler(WrongStatus)
def answer_wrong_status(error: WrongStatus) -> Response:
    """The email has changed in the meantime."""
    return _done(error.event_id, f"{in_mode(*MEANWHILE[error.status])}. Nothing changed.", "warning")


@blueprint.errorhandler(NoActiveRecipients)
def answer_nobody(error: NoActiveRecipients) -> Response:
    return _done(error.event_id, f"Still on hold: {error.reason}.", "warning")


def _form(*known: str) -> Fields:
    return Fields({name: request.form[name] for name in known if name in request.form}, known)


def _which(*allowed: str) -> tuple[str, Sequence[int]]:
    """Return which deliveries the form is about, and the selected recipients."""
    ticked = request.form.getlist("recipient_id")
    fields = Fields(
        {**request.form.to_dict(), "recipient_id": ticked} if ticked else request.form.to_dict(), request.form
    )
    which = fields.take("which", choice(*allowed))
    ids = fields.take_each("recipient_id", number, MAX_TICKED, ())
    fields.check()
    return which.value, ids.value if which.value == "ticked" else ()


def _cancelled(result: Cancelled) -> str:
    if not result.sent and not result.in_flight:
        return "Cancelled. It was not sent to anyone."
    recipients = pluralize(result.sent, "recipient")
    text = in_mode(f"{recipients} already received it", f"For {recipients}, it was already in the outbox")
    more = in_mode("more may still receive it", "more may still be saved")
    return f"Cancelled. {text}, and {result.in_flight:,} {more}." if result.in_flight else f"Cancelled. {text}."


def _begins() -> str:
    return in_mode("It is being sent now.", "It is being saved in the outbox now.")


def _retried(queued: int, ticked: int, blocked: Mapping[str, int]) -> str:
    """Say what is retried, and why the rest is not. `ticked` is the number of selected deliveries, 0 for all."""
    sentences = [f"Retrying {pluralize(queued, 'delivery', 'deliveries')}."] if queued else []
    if blocked:
        count = sum(blocked.values())
        sentences.append(f"{count:,} {'of them ' if not queued else ''}cannot be retried: {why_blocked(blocked)}.")
    others = ticked - queued - sum(blocked.values())
    if others > 0 and sentences:
        more = pluralize(others, "more selected delivery", "more selected deliveries")
        sentences.append(f"{more} can no longer be retried.")
    if not sentences:
        return "None of them can be retried any longer. Nothing changed."
    return " ".join(sentences if queued else [*sentences, "Nothing changed."])


def _time(due_at: datetime) -> Markup:
    return Markup("{}, {}").format(format_datetime(due_at), relative_time(due_at))


def _done(event_id: int, sentence: str, category: str = "message") -> Response:
    """Redirect to the page, keeping its filter."""
    flash(sentence, category)
    status = request.args.get("status")
    filtered = {"status": status} if status in DELIVERY_STATUSES else {}
    return redirect(url_for("pages.email.show", event_id=event_id, **filtered), 303)  # type: ignore[arg-type,return-value]
