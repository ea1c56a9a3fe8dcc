"""The preview of an email before it is saved, and the test that is sent to one address."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Response, make_response, render_template

from database import AudienceCount, Database, Email, Survey, UnusableList
from delivery.interface import SendableMessage
from delivery.message.message import MessageError
from delivery.message.mime import looks_like_html
from intake.email_fields import clean_content, clean_subject
from intake.email_options import FORM_NAMES, invalid_list
from intake.fields import InvalidFields
from intake.placeholders import placeholders
from intake.text import printable
from monitoring.mail_server import remedy_for
from sender.preview import survey_audience
from sender.single_send import SingleSend, send_single, single_message
from web.pages.audience_words import audience_words, left_out_words
from web.pages.compose.form import (
    FORM_FIELDS,
    LIST_FIELDS,
    NOW,
    Form,
    Target,
    is_personal,
    is_sent_now,
    sentence,
)
from web.pages.compose.zones import clean_zone
from web.pages.email.shown import Shown, shown_to
from web.pages.email.wording import in_mode
from web.pages.filters import dated, without_folders, words_of_zone
from web.pages.undo import UNDO_SECONDS
from web.sandbox import framed
from web.services import current_settings, in_database

MAX_REPLY_LENGTH = 500  # characters
UNSAVED = 0  # the event_id in the unsubscribe link of a preview
# The category and the beginning of the notice for each result of a test.
TEST_NOTICES = {
    "sent": ("", "Test sent"),
    "deferred": ("warning", "The mail server deferred the test"),
    "in_doubt": ("warning", "The test may or may not have arrived"),
    "failed": ("error", "The mail server rejected the test"),
    "refused": ("error", "The test could not be sent"),
    "unanswered": ("error", "The test was not sent"),
}


def frame_page(form: Form) -> Response:
    """Return the content as HTML, for the frame."""
    subject, content = clean_subject(form.get("email_subject", "")), clean_content(form.get("email_content", ""))
    email = Email(UNSAVED, subject, content, datetime.now(UTC), personal=is_personal(form))
    return framed(in_database(lambda database: shown_as(database, email, form, surveys=False)).preview.html)


def review_page(
    target: Target, email: Email, form: Form, *, address_error: str = "", notice: tuple[str, str] | None = None
) -> Response:
    """Return the page with the preview. Raises InvalidFields if a list is unknown or archived."""
    kept = {name: form.get(name, "") for name in (*FORM_FIELDS, *LIST_FIELDS) if form.get(name)}
    count = count_audience(email)
    if not form.get("event_id"):
        kept["proposed"] = str(email.event_id)
    shown = in_database(lambda database: shown_as(database, email, form))
    kept["shown_to"] = shown.recipient or ""
    preview = shown.preview
    own, zone = current_settings().timezone, clean_zone(form.get("zone", ""))
    page = render_template(
        "email_new_check.html",
        target=target,
        email=email,
        kept=kept,
        shown=shown,
        preview=preview,
        placeholders=placeholders(email.subject, preview.plain, preview.html) if not email.personal else [],
        looks_like_html=looks_like_html(email.content),
        goes_now=is_sent_now(email, form),
        is_past=is_sent_now(email, form) and form.get("when") != NOW,
        undo_seconds=UNDO_SECONDS,
        recipients=count.recipients,
        audience=audience_words(email.audience),
        left_out=left_out_words(count),
        due=dated(email.due_at.astimezone(own)),
        elsewhere=f"{dated(email.due_at.astimezone(zone))} in {words_of_zone(zone)}" if zone.key != own.key else "",
        sender=sender_of(email.from_name or ""),
        settings=current_settings(),
        address=form.get("address", ""),
        address_error=address_error,
        notice=notice,
    )
    return make_response(page, 400 if address_error else 200)


def sender_of(from_name: str) -> str:
    """Return the From header, with the sender's name of the email if it has one."""
    sender = current_settings().mail_from
    return f"{from_name} <{sender.address}>" if from_name else sender.header


def try_email(email: Email, form: Form, address: str) -> tuple[str, str]:
    """Send the email to one address. Return the category and the text of the notice about the result."""
    return _notice(_try(email, form, address))


def shown_as(database: Database, email: Email, form: Form, *, surveys: bool = True) -> Shown:
    """Return what the recipient `shown_to` will see. `surveys` chooses one if none is given, and counts the others."""
    if not email.personal:
        return shown_to(database, email)
    survey = survey_audience(database, email) if surveys else Survey(0, is_partial=True)
    return shown_to(database, email, form.get("shown_to", ""), survey)


def count_audience(email: Email) -> AudienceCount:
    """Count the audience of the email. Raises InvalidFields if a list is unknown or archived."""
    try:
        return in_database(lambda database: database.audiences.count(email.audience))
    except UnusableList as error:
        raise InvalidFields([invalid_list(email, error, FORM_NAMES)]) from error


def _try(email: Email, form: Form, address: str) -> SingleSend:
    """Send the email to `address`, with the values of the recipient who is shown."""
    settings = current_settings()

    def message_of(database: Database) -> SendableMessage:
        return single_message(settings, database, email, shown_as(database, email, form).fields)

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
    return kind, sentence(f"{beginning}:", reply)
