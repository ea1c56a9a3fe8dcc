"""/emails/new: write an email, preview it, send a test, and schedule it.

All steps POST the same form to the same URL. Nothing is stored until the email is scheduled: each page contains all
fields.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request
from markupsafe import Markup
from werkzeug.wrappers import Response as AnyResponse

from database import Database, Email, EventIdUsed, SaveResult, Survey, TextToSend
from delivery.interface import SendableMessage
from delivery.message.message import MessageError
from delivery.message.mime import looks_like_html
from delivery.message.personal import Preview
from intake.address import clean_typed_address
from intake.email_fields import clean_content, clean_local_time, clean_subject
from intake.errors import RepeatedTime, ValidationError
from intake.fields import Fields, InvalidFields, invalid, number, text
from intake.placeholders import placeholders
from intake.text import printable
from monitoring.mail_server import remedy_for
from sender.preview import preview as preview_of
from sender.preview import survey_audience
from sender.single_send import SingleSend, send_single, single_message
from web.auth.access import limits
from web.errors import error_answer
from web.form import read_page_form
from web.pages.email.wording import in_mode
from web.pages.filters import format_datetime, offset, without_folders
from web.sandbox import framed
from web.sendable import require_sendable
from web.services import current_settings, in_database, save_email

FORM_FIELDS = (
    "event_id",
    "proposed",
    "email_subject",
    "email_content",
    "timestamp",
    "offset",
    "email_personal",
    "shown_to",
)
AS_WRITTEN = "no"  # the value of email_personal with which braces are sent as they are written
MAX_REPLY_LENGTH = 500  # characters
LABELS = {
    "email_subject": "The subject",
    "email_content": "The content",
    "timestamp": "The time",
    "event_id": "The email ID",
    "address": "The address",
    "shown_to": "The address",
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
    subject, content = clean_subject(form.get("email_subject", "")), clean_content(form.get("email_content", ""))
    email = Email(0, subject, content, datetime.now(UTC), personal=_is_personal(form))
    return framed(in_database(lambda database: _shown(database, email, form)).preview.html)


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
        save_email(email)
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
    return _confirm(email, form, notice=_notice(_try(email, form, address.text)))


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
        email = Email(event_id.value, subject.value, content.value, due_at.value, personal=_is_personal(form))
        return require_sendable(email)
    except ValidationError as error:
        raise InvalidFields([error]) from error


def _is_personal(form: Form) -> bool:
    """Return whether names in braces are filled in: if there are braces, unless they are to be sent as written."""
    has_braces = any("{{" in form.get(name, "") for name in ("email_subject", "email_content"))
    return has_braces and form.get("email_personal") != AS_WRITTEN


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
        as_written=AS_WRITTEN,
        has_braces=_is_personal({**form, "email_personal": ""}),
    )
    return make_response(page, 400 if errors else 200)


def _confirm(email: Email, form: Form, *, address_error: str = "", notice: tuple[str, str] | None = None) -> Response:
    kept = {name: form.get(name, "") for name in FORM_FIELDS}
    if not form.get("event_id"):
        kept["proposed"] = str(email.event_id)
    shown = in_database(lambda database: _shown(database, email, form))
    kept["shown_to"] = shown.recipient or ""
    preview = shown.preview
    page = render_template(
        "email_new_check.html",
        email=email,
        kept=kept,
        shown=shown,
        preview=preview,
        as_written=AS_WRITTEN,
        placeholders=placeholders(email.subject, preview.plain, preview.html) if not email.personal else [],
        looks_like_html=looks_like_html(email.content),
        is_past=email.due_at <= datetime.now(UTC),
        recipients=_active_recipients(),
        settings=current_settings(),
        address=form.get("address", ""),
        address_error=address_error,
        notice=notice,
    )
    return make_response(page, 400 if address_error else 200)


class Shown(NamedTuple):
    """What one recipient will see. For an email with personal fields, also who in the audience lacks a value.

    `longest` and `missing` are addresses to show next: of the recipient with the longest values, and of one without a
    value. `error` is why `typed`, the address to show, is not a recipient.
    """

    preview: Preview
    recipient: str | None = None
    fields: Mapping[str, str] | None = None
    survey: Survey | None = None
    longest: str | None = None
    missing: str | None = None
    typed: str = ""
    error: str = ""


def _shown(database: Database, email: Email, form: Form) -> Shown:
    text = TextToSend(email.subject, email.content, "preview", 0, personal=email.personal)

    def seen_by(fields: Mapping[str, str]) -> Preview:
        return preview_of(current_settings(), database, email.event_id, text, fields)

    if not email.personal:
        return Shown(seen_by({}))
    survey = survey_audience(database, email)
    longest, missing = (_address_of(database, number) for number in (survey.longest_id, survey.missing_id))
    typed = form.get("shown_to", "").strip() or longest or missing or ""
    recipient, error = None, ""
    if typed:
        try:
            recipient = database.recipients.find(clean_typed_address(typed, single_label=True))
            error = "" if recipient else "No recipient has this address."
        except ValidationError as invalid_address:
            error = _sentence(LABELS["shown_to"], invalid_address.message)
    if recipient is None:
        return Shown(seen_by({}), None, None, survey, longest, missing, typed, error)
    fields = database.personal_fields.of([recipient.recipient_id]).get(recipient.recipient_id, {})
    return Shown(seen_by(fields), recipient.address, fields, survey, longest, missing, typed)


def _address_of(database: Database, recipient_id: int | None) -> str | None:
    recipient = None if recipient_id is None else database.recipients.get(recipient_id)
    return recipient.address if recipient else None


def _active_recipients() -> int:
    return in_database(lambda database: database.recipients.counts())["active"]


def _try(email: Email, form: Form, address: str) -> SingleSend:
    """Send the email to `address`, with the values of the recipient who is shown."""
    settings = current_settings()

    def message_of(database: Database) -> SendableMessage:
        return single_message(settings, database, email, _shown(database, email, form).fields)

    try:
        message = in_database(message_of)
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
