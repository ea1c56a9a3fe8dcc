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

from database import AudienceCount, Email, EventIdUsed, SaveResult, UnusableList, name_key
from delivery.message.message import MessageError
from delivery.message.mime import looks_like_html, parts_of
from intake.address import clean_typed_address
from intake.email_fields import clean_content, clean_local_time, clean_subject
from intake.email_options import FOR_EVERYONE, FORM_NAMES, Options, invalid_list, with_options
from intake.errors import RepeatedTime, ValidationError
from intake.fields import Fields, InvalidFields, choice, invalid, number, text
from intake.placeholders import placeholders
from intake.text import printable
from monitoring.mail_server import remedy_for
from sender.outgoing import unsubscribe_links
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

FORM_FIELDS = ("event_id", "proposed", "email_subject", "email_content", "timestamp", "offset", "audience")
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
    return framed(_parts(clean_content(form["email_content"]), UNSAVED)["html"])


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
    return _confirm(email, form, notice=_notice(_try(email, address.text)))


STEPS: dict[str, Callable[[Form], AnyResponse]] = {
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
        return require_sendable(_with_audience(email, audience.value, form))
    except ValidationError as error:
        raise InvalidFields([error]) from error


def _with_audience(email: Email, audience: str, form: Form) -> Email:
    """Return the email for the people that the form selects. Raises ValidationError."""
    lists, exclude_lists = (_names(form, name) for name in LIST_FIELDS)
    if lists and audience != "lists":
        raise ValidationError("audience", "is everyone, although lists are selected; choose one")
    if audience == "lists" and not lists:
        raise ValidationError("email_list", "is empty; select at least one list")
    if not audience and in_database(lambda database: database.lists.counts()).active:
        raise ValidationError("audience", "is missing; select everyone or some lists")
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
    parts = _parts(email.content, email.event_id)
    page = render_template(
        "email_new_check.html",
        email=email,
        kept=kept,
        parts=parts,
        placeholders=placeholders(email.subject, parts["plain"], parts["html"]),
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


def _active_recipients() -> int:
    return in_database(lambda database: database.recipients.counts())["active"]


def _parts(content: str, event_id: int) -> dict[str, str]:
    """Return the texts that will be sent, by kind. In the unsubscribe link, x stands for the recipient's token."""
    links = in_database(lambda database: unsubscribe_links(current_settings(), database, event_id))
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
