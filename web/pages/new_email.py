"""/emails/new: write an email, preview it, send a test, and schedule it.

All steps POST the same form to the same URL. Nothing is stored until the email is scheduled: each page contains all
fields.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from database import Email, EventIdUsed, SaveResult
from delivery.message.message import MessageError
from delivery.message.mime import looks_like_html, parts_of
from intake.address import clean_typed_address
from intake.email_fields import clean_content, clean_local_time, clean_subject
from intake.errors import RepeatedTime, ValidationError
from intake.fields import Fields, InvalidFields, invalid, number, text
from intake.placeholders import placeholders
from intake.text import printable
from monitoring.mail_server import remedy_for
from sender.outgoing import unsubscribe_links
from sender.single_send import SingleSend, send_single, single_message
from web.auth.access import limits
from web.errors import error_answer
from web.form import read_page_form
from web.pages.email.wording import in_mode
from web.pages.filters import format_datetime, offset, without_folders
from web.sandbox import framed
from web.sendable import require_sendable
from web.services import current_services, current_settings, in_database

FORM_FIELDS = ("event_id", "proposed", "email_subject", "email_content", "timestamp", "offset")
MAX_REPLY_LENGTH = 500  # characters
LABELS = {
    "email_subject": "The subject",
    "email_content": "The content",
    "timestamp": "The time",
    "event_id": "The email ID",
    "address": "The address",
}
# The category and the beginning of the notice for each result of a test.
TEST_NOTICES = {
    "sent": ("", "Test sent"),
    "deferred": ("warning", "The mail server deferred the test"),
    "in_doubt": ("warning", "The test may or may not have arrived"),
    "failed": ("error", "The mail server rejected the test"),
    "refused": ("error", "The test could not be sent"),
    "unanswered": ("error", "The test was not sent"),
}
Form = Mapping[str, str]
blueprint = Blueprint("new_email", __name__)


@blueprint.get("/emails/new")
def show() -> Response:
    """Show an empty form."""
    return _form({})


@blueprint.post("/emails/new")
def take() -> AnyResponse:
    """Run the requested step. If a field is invalid, show the form again with an error at each field."""
    form = _read()
    try:
        return STEPS.get(form.get("step", ""), check)(form)
    except InvalidFields as error:
        return _form(form, error)


@blueprint.errorhandler(MessageError)
@blueprint.errorhandler(ValidationError)
def answer_unreadable(error: MessageError | ValidationError) -> Response:
    """Return 400 for a form that no browser would send, or for HTML that cannot be sent."""
    return error_answer(400, str(error))


def change(form: Form) -> Response:
    """Show the form again, as it was filled in."""
    return _form(form)


def show_html(form: Form) -> Response:
    """Return the content as HTML, for the frame."""
    return framed(_parts(clean_content(form["email_content"]))["html"])


def check(form: Form) -> AnyResponse:
    """Show the preview. If the email ID is in use, report it, or replace it if it was generated."""
    email = _clean(form)
    match in_database(lambda database: database.emails.compare(email)):
        case SaveResult.IDENTICAL:
            return _saved_before(email)
        case SaveResult.DIFFERENT if form.get("event_id"):
            raise invalid("event_id", "is in use; leave it empty to generate one")
        case SaveResult.DIFFERENT:
            email = email._replace(event_id=_free_number())
    return _confirm(email, form)


def schedule(form: Form) -> AnyResponse:
    """Save the email. Safe to repeat."""
    email = _clean(form)
    try:
        current_services().save_email(email)
    except EventIdUsed as error:
        return _saved_before(email) if error.identical else check(form)
    flash(Markup("Scheduled for {}.").format(format_datetime(email.due_at)))
    return _to_email(email)


def send_test(form: Form) -> Response:
    """Send the email to one address now, and show the result."""
    email = _clean(form)
    try:
        single_label = current_settings().single_label_domains
        address = clean_typed_address(form.get("address", ""), single_label=single_label)
    except ValidationError as error:
        return _confirm(email, form, address_error=_sentence(LABELS["address"], error.message))
    wait = limits().seconds_until_trial(request.remote_addr or "")
    if wait:
        return _confirm(email, form, address_error=f"Too many tests. Try again in {wait} s.")
    return _confirm(email, form, notice=_notice(_try(email, address.text)))


STEPS: dict[str, Callable[[Form], AnyResponse]] = {
    "change": change,
    "html": show_html,
    "schedule": schedule,
    "test": send_test,
}


def _read() -> dict[str, str]:
    form = read_page_form(request, (*FORM_FIELDS, "step", "address"))
    form["email_content"] = form.get("email_content", "").replace("\r\n", "\n")  # undoes the line ends of browsers
    return form


def _clean(form: Form) -> Email:
    """Return the email. Raises InvalidFields, which lists every invalid field."""
    zone, chosen = current_settings().timezone, form.get("offset", "")
    fields = Fields({**form, "event_id": form.get("event_id", "").strip() or form.get("proposed")}, (*form, "event_id"))
    event_id = fields.take("event_id", number)
    subject = fields.take("email_subject", text(clean_subject))
    content = fields.take("email_content", text(clean_content))
    due_at = fields.take("timestamp", text(lambda value: clean_local_time(value, zone, chosen)))
    fields.check()
    try:
        return require_sendable(Email(event_id.value, subject.value, content.value, due_at.value))
    except ValidationError as error:
        raise InvalidFields([error]) from error


def _free_number() -> int:
    """Return an unused event_id: milliseconds since 1970, which no counter reaches and JavaScript does not round."""
    return time.time_ns() // 1_000_000


def _readings(form: Form) -> dict[str, datetime]:
    """Return the two instants of a local time that occurs twice, by their offsets."""
    zone = current_settings().timezone
    try:
        clean_local_time(form.get("timestamp", ""), zone)
    except RepeatedTime as error:
        return {offset(instant.astimezone(zone)): instant for instant in error.readings}
    except ValidationError:
        pass
    return {}


def _form(form: Form, error: InvalidFields | None = None) -> Response:
    errors = {each.field: _sentence(LABELS[each.field], each.message) for each in (error.errors if error else ())}
    page = render_template(
        "email_new.html",
        form={"proposed": _free_number(), **form},
        errors=errors,
        readings=_readings(form),
        now=datetime.now(UTC),
        recipients=_active_recipients(),
    )
    return make_response(page, 400 if errors else 200)


def _confirm(email: Email, form: Form, *, address_error: str = "", notice: tuple[str, str] | None = None) -> Response:
    kept = {name: form.get(name, "") for name in FORM_FIELDS}
    if not form.get("event_id"):
        kept["proposed"] = str(email.event_id)
    parts = _parts(email.content)
    page = render_template(
        "email_new_check.html",
        email=email,
        kept=kept,
        parts=parts,
        placeholders=placeholders(email.subject, parts["plain"], parts["html"]),
        looks_like_html=looks_like_html(email.content),
        is_past=email.due_at <= datetime.now(UTC),
        recipients=_active_recipients(),
        settings=current_settings(),
        address=form.get("address", ""),
        address_error=address_error,
        notice=notice,
    )
    return make_response(page, 400 if address_error else 200)


def _active_recipients() -> int:
    return in_database(lambda database: database.recipients.counts())["active"]


def _parts(content: str) -> dict[str, str]:
    """Return the texts that will be sent, by kind. In the unsubscribe link, x stands for the recipient's token."""
    links = in_database(lambda database: unsubscribe_links(current_settings(), database))
    parts = parts_of(content, links.prefix if links else None)
    return {"html": "", **{part.subtype: part.with_any_token.decode() for part in parts}}


def _try(email: Email, address: str) -> SingleSend:
    settings = current_settings()
    try:
        message = in_database(lambda database: single_message(settings, database, email))
    except MessageError as error:
        return SingleSend("failed", str(error))
    return send_single(settings, message, address)


def _notice(send: SingleSend) -> tuple[str, str]:
    """Return the category and the text of the notice about a test."""
    kind, beginning = TEST_NOTICES[send.result]
    if send.result == "sent":
        beginning = in_mode(beginning, "Test saved in the outbox")
    reply = printable(without_folders(send.reply), MAX_REPLY_LENGTH)
    if send.result == "refused" and current_settings().email_url.path is None:
        reply += f"; {remedy_for(send.reply)}"
    return kind, _sentence(f"{beginning}:", reply)


def _sentence(beginning: str, rest: str) -> str:
    return f"{beginning} {rest.rstrip('.')}."


def _saved_before(email: Email) -> AnyResponse:
    flash("This email is already scheduled. Nothing changed.")
    return _to_email(email)


def _to_email(email: Email) -> AnyResponse:
    return redirect(f"/emails/{email.event_id}", 303)
