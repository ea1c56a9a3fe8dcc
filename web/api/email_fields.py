"""Turn a JSON object into an email that can be saved and sent."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import lru_cache, partial
from zoneinfo import ZoneInfo

from database import Email
from intake.address import clean_address
from intake.email_fields import clean_content, clean_subject, clean_time
from intake.email_options import (
    JSON_NAMES,
    MAX_JSON_ADDRESSES,
    MAX_LISTS,
    REQUIRED,
    Options,
    clean_audience,
    clean_from_name,
    clean_recipients_max,
    clean_reply_to,
    with_options,
)
from intake.errors import ValidationError
from intake.fields import Field, Fields, InvalidFields, invalid, number, text, true_or_false
from intake.list_names import clean_list_name
from settings import Settings
from web.sendable import require_sendable

REQUIRED_FIELDS = ("event_id", "subject", "content", "due_at")
FIELDS = (*REQUIRED_FIELDS, *JSON_NAMES)
SUBJECT, CONTENT = text(clean_subject), text(clean_content)


def clean_email(values: object, settings: Settings) -> Email:
    """Return one email of a list. Raises InvalidFields, which lists every invalid field."""
    fields = Fields(values, FIELDS)
    return _email(fields, fields.take("event_id", number), settings)


def clean_addressed_email(values: object, settings: Settings, event_id: int) -> Email:
    """Return the email of a PUT request, whose event_id is in the URL. Raises InvalidFields."""
    fields = Fields(values, FIELDS[1:])
    return _email(fields, Field(fields.errors, event_id), settings)


def _email(fields: Fields, event_id: Field[int], settings: Settings) -> Email:
    subject = fields.take("subject", SUBJECT)
    content = fields.take("content", CONTENT)
    due_at = fields.take("due_at", _time(settings.timezone))
    options = _options(fields, settings) if fields.has_any(JSON_NAMES) else None
    fields.check()
    email = Email(event_id.value, subject.value, content.value, due_at.value)
    if options or settings.default_audience == REQUIRED:
        try:
            email = with_options(email, options() if options else Options(), JSON_NAMES, settings.default_audience)
        except ValidationError as error:
            raise InvalidFields([error]) from error
    try:
        return require_sendable(email)
    except ValidationError as error:
        raise invalid(error.field.removeprefix("email_"), error.message) from error


def _options(fields: Fields, settings: Settings) -> Callable[[], Options]:
    """Clean the optional fields. Return a function for their values, to be called once all fields have been checked."""
    address = partial(clean_address, single_label=settings.single_label_domains)
    audience = fields.take_or(JSON_NAMES.audience, text(clean_audience), None)
    lists = fields.take_each(JSON_NAMES.lists, text(clean_list_name), MAX_LISTS, ())
    exclude_lists = fields.take_each(JSON_NAMES.exclude_lists, text(clean_list_name), MAX_LISTS, ())
    to = fields.take_each(JSON_NAMES.to, text(address), MAX_JSON_ADDRESSES, ())
    recipients_max = fields.take_or(JSON_NAMES.recipients_max, lambda value: clean_recipients_max(number(value)), None)
    reply_to = fields.take_or(JSON_NAMES.reply_to, text(clean_reply_to), None)
    from_name = fields.take_or(JSON_NAMES.from_name, text(clean_from_name), None)
    personal = fields.take_or(JSON_NAMES.personal, true_or_false, False)
    return lambda: Options(
        audience.value,
        lists.value,
        exclude_lists.value,
        to.value,
        recipients_max.value,
        reply_to.value,
        from_name.value,
        personal.value,
    )


@lru_cache(maxsize=1)
def _time(zone: ZoneInfo) -> Callable[[object], datetime]:
    return text(lambda value: clean_time(value, zone))
