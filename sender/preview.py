"""Show an email as a recipient will see it, before it is sent."""

from __future__ import annotations

from collections.abc import Mapping

from database import Database, Email, Survey, TextToSend
from delivery.errors import MessageError
from delivery.message.mime import parts_of
from delivery.message.personal import PersonalMessage, Preview, parse_texts
from sender.outgoing import make_message, unsubscribe_links
from settings import Settings


def preview(
    settings: Settings, database: Database, event_id: int, text: TextToSend, fields: Mapping[str, str]
) -> Preview:
    """Return what a recipient with these personal fields will see. Raises MessageError if no message can be built."""
    message = make_message(settings, database, event_id, text)
    if isinstance(message, PersonalMessage):
        return message.preview(fields)
    links = unsubscribe_links(settings, database, event_id)
    parts = parts_of(text.content, links.prefix if links else None)
    texts = {part.subtype: part.with_any_token.decode("utf-8") for part in parts}
    return Preview(text.subject, texts["plain"], texts.get("html", ""), [], "")


def survey_recipients(database: Database, email: Email) -> Survey | None:
    """Return who in the audience of a saved email lacks a value, or None if its content was pruned or is broken."""
    if not email.personal or email.content_digest is not None:
        return None
    try:
        required, names = _names(email)
    except MessageError:
        return None
    return database.personal_fields.survey_saved(email.event_id, email.audience.kind, required, names)


def survey_audience(database: Database, email: Email) -> Survey:
    """Return who in the audience of a new email lacks a value. Raises MessageError, or NoSuchList and the like."""
    return database.personal_fields.survey(email.audience, *_names(email))


def _names(email: Email) -> tuple[list[str], list[str]]:
    """Return the names of the placeholders without a default, and those of all placeholders."""
    texts = parse_texts(email.subject, email.content)
    return texts.required_names(), [placeholder.name for placeholder in texts.placeholders]
