"""The content of an email: as sandboxed HTML for a frame, and as the source that is sent."""

from __future__ import annotations

import time

from flask import Blueprint, Response
from werkzeug.exceptions import Conflict, Gone, NotFound

from database import Database, Email
from delivery.errors import MessageError
from delivery.interface import SendableMessage
from delivery.message.personal import PersonalMessage
from operations import get_email
from sender.outgoing import goes_as_html, make_message
from web.errors import CONTENT_PRUNED, plain_text
from web.sandbox import framed
from web.services import current_settings, in_database

SAMPLE = ("recipient@example.com", 0)  # no real recipient, so its unsubscribe link does nothing

blueprint = Blueprint("content", __name__)


@blueprint.get("/emails/<event_id:event_id>/frame")
def frame(event_id: int) -> Response:
    """Return the content as sandboxed HTML, or 404 if it is plain text."""
    email = in_database(lambda database: _email(database, event_id))
    if not goes_as_html(email.content):
        raise NotFound
    return framed(email.content)


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


def _octets(database: Database, event_id: int) -> bytes:
    _email(database, event_id)
    text = database.emails.text_to_send(event_id)
    message: SendableMessage = make_message(current_settings(), database, event_id, text)
    if isinstance(message, PersonalMessage):
        message = message.sample()
    return message.as_bytes(*SAMPLE, time.time(), eight_bit=True)
