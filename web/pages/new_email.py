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

from database import AudienceCount, Database, Email, EventIdUsed, SaveResult, Survey, TextToSend, UnusableList, name_key
from delivery.interface import SendableMessage
from delivery.message.message import MessageError
from delivery.message.mime import looks_like_html
from delivery.message.personal import Preview
from intake.address import clean_typed_address
from intake.email_fields import clean_content, clean_local_time, clean_subject
from intake.email_options import FOR_EVERYONE, FORM_NAMES, Options, invalid_list, with_options
from intake.errors import RepeatedTime, ValidationError
from intake.fields import Fields, InvalidFields, choice, invalid, number, text
from intake.placeholders import placeholders
from intake.text import printable
from monitoring.mail_server import remedy_for
from sender.preview import preview as preview_of
from sender.preview import survey_audience
from sender.single_send import SingleSend, send_single, single_message
from web.auth.access import limits
from web.errors import error_answer
from web.form import read_page_form_with_options
from web.pages.audience_words import audience_words, left_out_words
from web.pages.email.wording import in_mode
from web.pages.filters import format_datetime, offset, without_folders
from web.sandbox import framed
from web.sendable import require_sendable
from web.services import current_services, current_settings, in_database

FORM_FIELDS = (
    *("event_id", "proposed", "email_subject", "email_content", "timestamp", "offset", "audience"),
    *("email_personal", "shown_to"),
)
AS_WRITTEN = "no"  # the value of email_personal that sends braces as written
# Repeated in the form, joined by SEPARATOR everywhere else. No name of a list contains it.
LIST_FIELDS = ("email_list", "email_exclude_list")
SEPARATOR = ";"
MAX_SHOWN_LISTS = 1_000
AUDIENCES = ("everyone", "lists")
MAX_REPLY_LENGTH = 500  # characters
UNSAVED = 0  # the event_id in the unsubscribe link of a preview
LABELS = {
    "email_subject": "The subject",
    "email_content": "The content",
    "timestamp": "The time",
    "event_id": "The email ID",
    "audience": "The choice of recipients",
    "email_list": "The choice of lists",
    "email_exclude_list": "The choice of lists to leave out",
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
    """Show an empty form, or one for the list in the query."""
    chosen = request.args.get("list", "")
    return _form({"audience": "lists", "email_list": chosen} if chosen else {})


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
    email = Email(UNSAVED, subject, content, datetime.now(UTC), personal=_is_personal(form))
    return framed(in_database(lambda database: _shown(database, email, form, surveys=False)).preview.html)


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


def check_as_written(form: Form) -> AnyResponse:
    """Show the preview of the email with its braces as written."""
    return check({**form, "email_personal": AS_WRITTEN})


def schedule(form: Form) -> AnyResponse:
    """Save the email. Safe to repeat."""
    email = _clean(form)
    try:
        current_services().save_email(email)
    except EventIdUsed as error:
        return _saved_before(email) if error.identical else check(form)
    except UnusableList as error:
        raise InvalidFields([invalid_list(email, error, FORM_NAMES)]) from error
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
    "as_written": check_as_written,
    "change": change,
    "html": show_html,
    "schedule": schedule,
    "test": send_test,
}


def _read() -> dict[str, str]:
    read = read_page_form_with_options(request, (*FORM_FIELDS, "step", "address"), LIST_FIELDS)
    form = read.fields | {name: SEPARATOR.join(values) for name, values in read.options.items()}
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
    audience = fields.take_or("audience", choice(*AUDIENCES), "")
    fields.check()
    email = Email(event_id.value, subject.value, content.value, due_at.value)
    try:
        email = _with_audience(email, audience.value, form)
        return require_sendable(email._replace(personal=_is_personal(form)))
    except ValidationError as error:
        raise InvalidFields([error]) from error


def _is_personal(form: Form) -> bool:
    """Return whether names in braces are filled in: if there are braces, unless they are to be sent as written."""
    has_braces = any("{{" in form.get(name, "") for name in ("email_subject", "email_content"))
    return has_braces and form.get("email_personal") != AS_WRITTEN


def _with_audience(email: Email, audience: str, form: Form) -> Email:
    """Return the email for the people that the form selects. Raises ValidationError."""
    lists, exclude_lists = (_names(form, name) for name in LIST_FIELDS)
    if lists and audience == "everyone":
        raise ValidationError("audience", "You selected lists, but also “Everyone”. Choose one.")
    if audience == "lists" and not lists:
        raise ValidationError("email_list", "Select at least one list.")
    if not audience and (lists or in_database(lambda database: database.lists.counts()).active):
        raise ValidationError("audience", "Choose who gets this email.")
    everyone = FOR_EVERYONE if audience == "everyone" else None
    options = Options(audience=everyone, lists=lists, exclude_lists=exclude_lists)
    return with_options(email, options, FORM_NAMES, current_settings().default_audience)


def _names(form: Form, field: str) -> list[str]:
    return [name for name in form.get(field, "").split(SEPARATOR) if name]


def _count(email: Email) -> AudienceCount:
    """Count the audience of the email. Raises InvalidFields if a list is unknown or archived."""
    try:
        return in_database(lambda database: database.audiences.count(email.audience))
    except UnusableList as error:
        raise InvalidFields([invalid_list(email, error, FORM_NAMES)]) from error


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
        lists=in_database(lambda database: database.lists.page(limit=MAX_SHOWN_LISTS, archived=False)),
        selected={name: {name_key(each) for each in _names(form, name)} for name in LIST_FIELDS},
        name_key=name_key,
    )
    return make_response(page, 400 if errors else 200)


def _confirm(email: Email, form: Form, *, address_error: str = "", notice: tuple[str, str] | None = None) -> Response:
    kept = {name: form.get(name, "") for name in (*FORM_FIELDS, *LIST_FIELDS) if form.get(name)}
    count = _count(email)
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
        placeholders=placeholders(email.subject, preview.plain, preview.html) if not email.personal else [],
        looks_like_html=looks_like_html(email.content),
        is_past=email.due_at <= datetime.now(UTC),
        recipients=count.recipients,
        audience=audience_words(email.audience),
        left_out=left_out_words(count),
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


def _shown(database: Database, email: Email, form: Form, *, surveys: bool = True) -> Shown:
    """Return what the recipient `shown_to` will see. `surveys` chooses one if none is given, and counts the others."""
    text = TextToSend(email.subject, email.content, "preview", 0, personal=email.personal)

    def seen_by(fields: Mapping[str, str]) -> Preview:
        return preview_of(current_settings(), database, email.event_id, text, fields)

    if not email.personal:
        return Shown(seen_by({}))
    survey = survey_audience(database, email) if surveys else Survey(0, is_partial=True)
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


def _sentence(label: str, message: str) -> str:
    """Return a message about a field as a sentence. It begins with the label, unless the message is a sentence."""
    return message if message[:1].isupper() else f"{label} {message.rstrip('.')}."


def _saved_before(email: Email) -> AnyResponse:
    flash("This email is already scheduled. Nothing changed.")
    return _to_email(email)


def _to_email(email: Email) -> AnyResponse:
    return redirect(f"/emails/{email.event_id}", 303)
