"""The forms on the page of an email. Each redirects to the page, with a sentence about what was done.

If someone else was faster, the sentence says so, and nothing was changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from flask import Blueprint, Response, flash, redirect, request, url_for
from markupsafe import Markup

import operations
from database import DELIVERY_STATUSES, RETRYABLE_STATUSES, Cancelled, NoActiveRecipients, WrongStatus
from intake.email_fields import clean_local_time
from intake.errors import BadTimestamp
from intake.fields import Fields, choice, number
from monitoring.humanize import pluralize
from operations import get_summary, why_blocked
from web.pages.email.view import email_page, not_started, number_of, read_query
from web.pages.email.wording import delivery_words, in_mode
from web.pages.filters import format_datetime, relative_time
from web.services import current_settings, in_database, perform

# Of an email that someone else, or the sender, changed before; with a mail server, and without one.
MEANWHILE = {
    "scheduled": ("It is scheduled by now",) * 2,
    "sending": ("It is being sent by now", "It is going to the outbox by now"),
    "sent": ("It was sent meanwhile", "It went to the outbox meanwhile"),
    "held": ("It is held by now",) * 2,
    "cancelled": ("It was cancelled meanwhile",) * 2,
}
MAX_TICKED = 1_000  # deliveries
NOTHING_TICKED = "No delivery was ticked, and nothing was changed."

blueprint = Blueprint("actions", __name__)


@blueprint.post("/emails/<event_id>/cancel")
def cancel(event_id: str) -> Response:
    """Send no more of it."""
    email = number_of(event_id)
    return _done(email, _cancelled(perform(operations.cancel_email, email, datetime.now(UTC))))


@blueprint.post("/emails/<event_id>/release")
def release(event_id: str) -> Response:
    """Let it go out though it was held."""
    email = number_of(event_id)
    status, due_at = perform(operations.release_email, email, datetime.now(UTC))
    if status == "scheduled":
        return _done(email, Markup("Released. It goes out {}.").format(_time(due_at)))
    return _done(email, f"Released. {_begins()}")


@blueprint.post("/emails/<event_id>/reschedule")
def reschedule(event_id: str) -> Response:
    """Change the due time of an email. A time that has passed needs `confirmed`, as it sends the email at once."""
    email = number_of(event_id)
    typed, offset = request.form.get("timestamp", ""), request.form.get("offset", "")
    confirmed = request.form.get("confirmed") == "yes"
    try:
        due_at = clean_local_time(typed, current_settings().timezone, offset)
    except BadTimestamp as error:
        page = email_page(read_query(event_id), typed, error)
        page.status_code = 400
        return page
    now = datetime.now(UTC)
    if due_at <= now and not confirmed and not_started(in_database(lambda database: get_summary(database, email))):
        return email_page(read_query(event_id), typed, past=due_at)
    perform(operations.reschedule_email, email, due_at, now)
    if due_at <= now:
        return _done(email, _begins())
    return _done(email, Markup("Moved. It goes out {}.").format(_time(due_at)))


@blueprint.post("/emails/<event_id>/retry")
def retry(event_id: str) -> Response:
    """Retry deliveries: the selected ones, all with one status, or the failed ones after reactivating recipients."""
    email = number_of(event_id)
    which, ids = _which("ticked", "rejected", *RETRYABLE_STATUSES)
    if which == "ticked" and not ids:
        return _done(email, NOTHING_TICKED, "warning")
    if which == "rejected":
        reactivated, queued = perform(operations.reactivate_and_retry, email, datetime.now(UTC))
        active = f"{pluralize(reactivated, 'recipient is', 'recipients are')} active again. " if reactivated else ""
        return _done(email, active + _retried(queued, queued, {}), "message" if queued else "warning")
    statuses = RETRYABLE_STATUSES if which == "ticked" else (which,)
    queued = perform(operations.retry_deliveries, email, datetime.now(UTC), statuses, ids)
    blocked = in_database(lambda database: operations.blocked_deliveries(database, email, statuses, ids))
    return _done(email, _retried(queued, len(ids), blocked), "message" if queued else "warning")


@blueprint.post("/emails/<event_id>/decide")
def decide(event_id: str) -> Response:
    """Say of unknown deliveries whether they were sent: of those that are ticked, or of all."""
    email = number_of(event_id)
    which, ids = _which("ticked", "unknown")
    fields = _form("status")
    status = fields.take("status", choice("sent", "failed"))
    fields.check()
    if which == "ticked" and not ids:
        return _done(email, NOTHING_TICKED, "warning")
    decided = perform(operations.decide_deliveries, email, status.value, datetime.now(UTC), ids)
    if not decided:
        return _done(email, "None of them is in doubt any more: nothing was changed.", "warning")
    return _done(
        email,
        f"{pluralize(decided, 'delivery counts', 'deliveries count')} as {delivery_words()[status.value]} from now on.",
    )


@blueprint.errorhandler(WrongStatus)
def answer_wrong_status(error: WrongStatus) -> Response:
    """Somebody else, or the sender, was quicker."""
    return _done(error.event_id, f"{in_mode(*MEANWHILE[error.status])}: nothing was changed.", "warning")


@blueprint.errorhandler(NoActiveRecipients)
def answer_nobody(error: NoActiveRecipients) -> Response:
    """A person has to add recipients first."""
    return _done(error.event_id, "It stays held: there is no active recipient.", "warning")


def _form(*known: str) -> Fields:
    return Fields({name: request.form[name] for name in known if name in request.form}, known)


def _which(*allowed: str) -> tuple[str, Sequence[int]]:
    """Which deliveries the form is about, and the recipients that are ticked in it."""
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
        return "Cancelled, before anybody got it."
    recipients = pluralize(result.sent, "recipient")
    before = in_mode(f"{recipients} had got it already", f"For {recipients} it was in the outbox already")
    return f"Cancelled. {before}, and to {result.in_flight:,} it was on its way; nobody else gets it."


def _begins() -> str:
    return in_mode("It is being sent now.", "It goes to the outbox now.")


def _retried(queued: int, ticked: int, blocked: Mapping[str, int]) -> str:
    """What was done, and why the rest was not. `ticked` is how many were selected, 0 if all were."""
    sentences = [f"{pluralize(queued, 'delivery is', 'deliveries are')} in line again."] if queued else []
    if blocked:
        count = sum(blocked.values())
        sentences.append(f"{count:,} {'of them ' if not queued else ''}cannot be retried: {why_blocked(blocked)}.")
    others = ticked - queued - sum(blocked.values())
    if others > 0 and sentences:
        sentences.append(f"The others of the {ticked:,} are not failed or unknown any more.")
    if not sentences:
        return "None of them can be retried any more: nothing was changed."
    return " ".join(sentences if queued else [*sentences, "Nothing was changed."])


def _time(due_at: datetime) -> Markup:
    return Markup("{}, {}").format(format_datetime(due_at), relative_time(due_at))


def _done(event_id: int, sentence: str, category: str = "message") -> Response:
    """Back to the page, with what was filtered there."""
    flash(sentence, category)
    status = request.args.get("status")
    filtered = {"status": status} if status in DELIVERY_STATUSES else {}
    return redirect(url_for("pages.email.show", event_id=event_id, **filtered), 303)  # type: ignore[arg-type,return-value]
