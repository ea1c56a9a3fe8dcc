"""The content of an email: as a recipient sees it, as sandboxed HTML for a frame, and as the source that is sent."""

from __future__ import annotations

import time
from typing import NamedTuple

from flask import Blueprint, Response, request
from werkzeug.exceptions import Conflict, Gone, NotFound

from database import Database, Email, Survey
from delivery.errors import MessageError
from delivery.interface import SendableMessage
from delivery.message.personal import PersonalMessage
from operations import get_email
from sender.outgoing import as_plain_text, goes_as_html, make_message
from sender.preview import survey_recipients
from web.errors import CONTENT_PRUNED, plain_text
from web.pages.email.shown import Shown, shown_to
from web.sandbox import framed
from web.services import current_settings, in_database

SAMPLE = ("recipient@example.com", 0)  # no real recipient, so its unsubscribe link does nothing
READINGS = ("html", "text")
MAX_PREVIEW_LENGTH = 20_000  # characters

blueprint = Blueprint("content", __name__)


class ShownContent(NamedTuple):
    """The content for a page: in a frame, or as this text, which may be cut. `error` is why it cannot be sent."""

    subject: str
    is_html: bool
    in_frame: bool
    text: str
    cut: bool
    shown: Shown | None  # the recipient whose values are filled in, if it has personal fields
    error: str = ""


def read_content(
    database: Database, email: Email, reading: str | None, recipient: str, survey: Survey | None
) -> ShownContent:
    """Return the content as the recipient with this address sees it. It is not built if only the frame shows it."""
    if email.content_digest is not None:
        return ShownContent(email.subject, False, False, "", False, None)
    is_html, in_frame = goes_as_html(email.content), goes_as_html(email.content) and reading != "text"
    if in_frame and not email.personal:
        return ShownContent(email.subject, True, True, "", False, None)
    try:
        shown = shown_to(database, email, recipient or _first_recipient(database, email, survey), survey)
    except MessageError as reason:
        text = as_plain_text(email.content)
        return ShownContent(email.subject, is_html, in_frame, *_cut(text), None, str(reason))
    text = "" if in_frame else shown.preview.plain
    return ShownContent(shown.preview.subject, is_html, in_frame, *_cut(text), shown if email.personal else None)


def _cut(text: str) -> tuple[str, bool]:
    return text[:MAX_PREVIEW_LENGTH], len(text) > MAX_PREVIEW_LENGTH


def _first_recipient(database: Database, email: Email, survey: Survey | None) -> str:
    """Return the first recipient of an email with personal fields that has been started; before, the survey chooses."""
    if not email.personal or survey is not None:
        return ""
    return next((row.address for row in database.deliveries.page(email.event_id, limit=1).rows), "")


@blueprint.get("/emails/<event_id:event_id>/frame")
def frame(event_id: int) -> Response:
    """Return the content as sandboxed HTML, as the recipient `shown_to` sees it, or 404 if it is plain text."""
    recipient = request.args.get("shown_to", "")
    return framed(in_database(lambda database: _html(database, event_id, recipient)))


@blueprint.get("/emails/<event_id:event_id>/source")
def source(event_id: int) -> Response:
    """Return the message as it is sent, for a sample recipient."""
    octets = in_database(lambda database: _octets(database, event_id))
    return plain_text(octets.decode("utf-8", "replace"))


@blueprint.errorhandler(MessageError)
def answer_not_built(error: MessageError) -> Response:
    """Return 409 if no message can be built. The deliveries fail with the same reason."""
    raise Conflict(f"this email cannot be sent: {error}")


def _email(database: Database, event_id: int) -> Email:
    email = get_email(database, event_id)
    if email.content_digest is not None:
        raise Gone(CONTENT_PRUNED)
    return email


def _html(database: Database, event_id: int, recipient: str) -> str:
    email = _email(database, event_id)
    if not goes_as_html(email.content):
        raise NotFound
    survey = survey_recipients(database, email) if email.personal and not recipient else None
    try:
        return shown_to(database, email, recipient or _first_recipient(database, email, survey), survey).preview.html
    except MessageError:
        return email.content


def _octets(database: Database, event_id: int) -> bytes:
    _email(database, event_id)
    text = database.emails.text_to_send(event_id)
    message: SendableMessage = make_message(current_settings(), database, event_id, text)
    if isinstance(message, PersonalMessage):
        message = message.sample()
    return message.as_bytes(*SAMPLE, time.time(), eight_bit=True)
