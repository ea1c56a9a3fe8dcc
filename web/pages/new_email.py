"""/emails/new: an email is written, looked at, tried on one address, and saved.

All steps are POSTs of one form to one address. Until it is saved nothing is stored: each page holds all fields.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from flask import Blueprint, Response, flash, make_response, redirect, render_template, request
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
from web.pages.filters import offset
from web.sandbox import framed
from web.sendable import require_sendable
from web.services import current_settings, in_database, save_email

FORM_FIELDS = ("event_id", "proposed", "email_subject", "email_content", "timestamp", "offset")
MAX_REPLY_LENGTH = 500  # characters
LABELS = {
    "email_subject": "The subject",
    "email_content": "The content",
    "timestamp": "The time",
    "event_id": "The number",
    "address": "The address",
}
# What became of a test: how its notice looks, and how it begins.
TEST_NOTICES = {
    "sent": ("", "The test was taken"),
    "deferred": ("warning", "The test was not taken for now"),
    "in_doubt": ("warning", "The test may have arrived or not"),
    "failed": ("error", "The test was refused"),
    "refused": ("error", "No mail can be sent now"),
    "unanswered": ("error", "The test did not go out"),
}
Form = Mapping[str, str]
blueprint = Blueprint("new_email", __name__)


@blueprint.get("/emails/new")
def show() -> Response:
    """Show an empty form."""
    return _form({})


@blueprint.post("/emails/new")
def take() -> AnyResponse:
    """The step that was asked for; what cannot be taken comes back with what is wrong at each field."""
    form = _read()
    try:
        return STEPS.get(form.get("step", ""), check)(form)
    except InvalidFields as error:
        return _form(form, error)


@blueprint.errorhandler(MessageError)
@blueprint.errorhandler(ValidationError)
def answer_unreadable(error: MessageError | ValidationError) -> Response:
    """Answer what no browser sends, and an HTML view of what cannot be sent."""
    return error_answer(400, str(error))


def change(form: Form) -> Response:
    """Show the form again, as it was filled in."""
    return _form(form)


def show_html(form: Form) -> Response:
    """The content as HTML, for the frame."""
    return framed(_parts(clean_content(form["email_content"]))["html"])


def check(form: Form) -> AnyResponse:
    """The page that says what will happen. A number that is taken is said, or replaced if nobody chose it."""
    email = _clean(form)
    match in_database(lambda database: database.emails.compare(email)):
        case SaveResult.IDENTICAL:
            return _saved_before(email)
        case SaveResult.DIFFERENT if form.get("event_id"):
            raise invalid("event_id", "is another email's already; leave it empty to have a free one taken")
        case SaveResult.DIFFERENT:
            email = email._replace(event_id=_free_number())
    return _confirm(email, form)


def schedule(form: Form) -> AnyResponse:
    """Save it, once however often this is sent."""
    email = _clean(form)
    try:
        save_email(email)
    except EventIdUsed as error:
        return _saved_before(email) if error.identical else check(form)
    flash("This email is saved. It goes out at its time.")
    return _to_email(email)


def send_test(form: Form) -> Response:
    """Send it to one address now, and say what became of that."""
    email = _clean(form)
    try:
        single_label = current_settings().single_label_domains
        address = clean_typed_address(form.get("address", ""), single_label=single_label)
    except ValidationError as error:
        return _confirm(email, form, address_error=_sentence(LABELS["address"], error.message))
    wait = limits().seconds_until_trial(request.remote_addr or "")
    if wait:
        return _confirm(email, form, address_error=f"That was tried too often; the next test can go out in {wait} s.")
    return _confirm(email, form, notice=_notice(_try(email, address.text)))


STEPS: dict[str, Callable[[Form], AnyResponse]] = {
    "change": change,
    "html": show_html,
    "schedule": schedule,
    "test": send_test,
}


def _read() -> dict[str, str]:
    form = read_page_form(request, (*FORM_FIELDS, "step", "address"))
    form["email_content"] = form.get("email_content", "").replace("\r\n", "\n")  # as it was before the browser had it
    return form


def _clean(form: Form) -> Email:
    """Return the email. Raises InvalidFields, which names every invalid field."""
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
    """Milliseconds since 1970: what no person counts up to, and JavaScript does not round."""
    return time.time_ns() // 1_000_000


def _readings(form: Form) -> dict[str, datetime]:
    """The two instants that the time stands for, if it comes twice, by their offsets."""
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
    """The texts that go out, by their kind; where a recipient has a link of its own, it ends with x."""
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
    """What became of a test: how it looks, and what it says."""
    kind, beginning = TEST_NOTICES[send.result]
    reply = printable(send.reply, MAX_REPLY_LENGTH)
    if send.result == "refused" and current_settings().email_url.path is None:
        reply += f"; {remedy_for(send.reply)}"
    return kind, _sentence(f"{beginning}:", reply)


def _sentence(beginning: str, rest: str) -> str:
    return f"{beginning} {rest.rstrip('.')}."


def _saved_before(email: Email) -> AnyResponse:
    flash("This very email was saved already. Nothing was done twice.")
    return _to_email(email)


def _to_email(email: Email) -> AnyResponse:
    return redirect(f"/emails/{email.event_id}", 303)
