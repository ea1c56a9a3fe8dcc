"""A JSON object → an email that is fit to be saved."""

from __future__ import annotations

from zoneinfo import ZoneInfo

from database import Email
from web.api.fields import Fields, number, text
from web.invalid import ValidationError
from web.validation import clean_content, clean_subject, clean_time

FIELDS = ("event_id", "subject", "content", "due_at")


def clean_email(values: object, zone: ZoneInfo, addressed: int | None = None) -> Email:
    """The email; its number may be `addressed` already. Raises InvalidFields with all that is wrong."""
    fields = Fields(values, FIELDS)
    if addressed is None:
        event_id = fields.take("event_id", number)
    else:
        event_id = fields.take_or("event_id", lambda value: _same(value, addressed), addressed)
    subject = fields.take("subject", text(clean_subject))
    content = fields.take("content", text(clean_content))
    due_at = fields.take("due_at", text(lambda value: clean_time(value, zone)))
    fields.check()
    return Email(event_id=event_id, subject=subject, content=content, due_at=due_at)


def _same(value: object, addressed: int) -> int:
    if number(value) != addressed:
        raise ValidationError("event_id", "is not the one in the address")
    return addressed
