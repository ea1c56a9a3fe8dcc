"""Turn a JSON object into an email that can be saved and sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache
from zoneinfo import ZoneInfo

from database import Email
from intake.email_fields import clean_content, clean_subject, clean_time
from intake.errors import ValidationError
from intake.fields import Field, Fields, invalid, number, text
from web.sendable import require_sendable

FIELDS = ("event_id", "subject", "content", "due_at")
SUBJECT, CONTENT = text(clean_subject), text(clean_content)


def clean_email(values: object, zone: ZoneInfo) -> Email:
    """Return one email of a list. Raises InvalidFields, which lists every invalid field."""
    fields = Fields(values, FIELDS)
    return _email(fields, fields.take("event_id", number), zone)


def clean_addressed_email(values: object, zone: ZoneInfo, event_id: int) -> Email:
    """Return the email of a PUT request, whose event_id is in the URL. Raises InvalidFields."""
    fields = Fields(values, FIELDS[1:])
    return _email(fields, Field(fields.errors, event_id), zone)


def _email(fields: Fields, event_id: Field[int], zone: ZoneInfo) -> Email:
    subject = fields.take("subject", SUBJECT)
    content = fields.take("content", CONTENT)
    due_at = fields.take("due_at", _time(zone))
    fields.check()
    try:
        return require_sendable(Email(event_id.value, subject.value, content.value, due_at.value))
    except ValidationError as error:
        raise invalid("content", error.message) from error


@lru_cache(maxsize=1)
def _time(zone: ZoneInfo) -> Callable[[object], datetime]:
    return text(lambda value: clean_time(value, zone))
