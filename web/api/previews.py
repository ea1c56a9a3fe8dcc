"""/api/emails/…/preview: an email as a recipient will see it; and how many recipients lack a value."""

from __future__ import annotations

from flask import Blueprint, Response, request
from werkzeug.exceptions import Conflict

from database import Database, Email, EmailSummary, Recipient
from delivery.errors import MessageError
from delivery.message.personal import Preview
from intake.email_fields import clean_event_id
from intake.fields import text
from operations import get_email
from sender.preview import preview, survey_recipients
from web.api.params import query_fields
from web.api.recipients import find_recipient
from web.api.serializers import Document
from web.errors import CONTENT_PRUNED
from web.problem_details import json_response
from web.services import current_settings, in_database

blueprint = Blueprint("previews", __name__)


@blueprint.get("/emails/<event_id>/preview")
def preview_email(event_id: str) -> Response:
    """Return what a recipient will see. Without a recipient, placeholders stay visible."""
    fields = query_fields(request, "recipient")
    who = fields.take_or("recipient", text(str), None)
    fields.check()
    return json_response(in_database(lambda database: _preview(database, clean_event_id(event_id), who.value)))


def without_value(database: Database, email: Email, summary: EmailSummary) -> Document | None:
    """Return how many recipients lack a value; None if the email has no personal fields, or has been started."""
    survey = survey_recipients(database, email) if email.personal and not summary.deliveries else None
    return None if survey is None else {"count": survey.missing, "at_least": survey.is_partial}


def _preview(database: Database, event_id: int, who: str | None) -> Document:
    if get_email(database, event_id).content_digest is not None:
        raise Conflict(CONTENT_PRUNED)
    recipient = None if who is None else find_recipient(database, who)
    values: dict[str, str] = {}
    if recipient is not None:
        values = database.personal_fields.of([recipient.recipient_id]).get(recipient.recipient_id, {})
    try:
        shown = preview(current_settings(), database, event_id, database.emails.text_to_send(event_id), values)
    except MessageError as error:
        raise Conflict(f"this email cannot be sent: {error}") from error
    return _document(event_id, recipient, shown)


def _document(event_id: int, recipient: Recipient | None, shown: Preview) -> Document:
    return {
        "event_id": event_id,
        "recipient": recipient.address if recipient else None,
        "subject": shown.subject,
        "text": shown.plain,
        "html": shown.html or None,
        "missing": shown.missing,
        "problem": (shown.problem or None) if recipient else None,
    }
