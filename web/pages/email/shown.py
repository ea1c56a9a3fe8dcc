"""What one recipient sees of an email: its personal fields filled in with their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from database import Database, Email, Survey, TextToSend
from delivery.message.personal import Preview
from intake.address import clean_typed_address
from intake.errors import ValidationError
from sender.preview import preview as preview_of
from web.services import current_settings


class Shown(NamedTuple):
    """What one recipient will see. For an email with personal fields, also who in the audience lacks a value.

    `longest` and `missing` are addresses to show next: of the recipient with the longest values, and of one without a
    value. `error` is why `typed`, the address to show, is not a recipient.
    """

    preview: Preview
    recipient: str | None = None
    fields: Mapping[str, str] | None = None
    survey: Survey | None = None
    longest: str | None = None
    missing: str | None = None
    typed: str = ""
    error: str = ""


def shown_to(database: Database, email: Email, typed: str = "", survey: Survey | None = None) -> Shown:
    """Return what the recipient with the address `typed` will see. Without it, the `survey` chooses the recipient.

    Raises MessageError if no message can be built.
    """
    text = TextToSend(email.subject, email.content, "preview", 0, personal=email.personal)

    def seen_by(fields: Mapping[str, str]) -> Preview:
        return preview_of(current_settings(), database, email.event_id, text, fields)

    if not email.personal:
        return Shown(seen_by({}))
    ids = (survey.longest_id, survey.missing_id) if survey else (None, None)
    longest, missing = (_address_of(database, recipient_id) for recipient_id in ids)
    typed = typed.strip() or longest or missing or ""
    recipient, error = None, ""
    if typed:
        try:
            recipient = database.recipients.find(clean_typed_address(typed, single_label=True))
            error = "" if recipient else "No recipient has this address."
        except ValidationError as invalid_address:
            message = invalid_address.message
            error = message if message[:1].isupper() else f"The address {message.rstrip('.')}."
    if recipient is None:
        return Shown(seen_by({}), None, None, survey, longest, missing, typed, error)
    fields = database.personal_fields.of([recipient.recipient_id]).get(recipient.recipient_id, {})
    return Shown(seen_by(fields), recipient.address, fields, survey, longest, missing, typed)


def _address_of(database: Database, recipient_id: int | None) -> str | None:
    recipient = None if recipient_id is None else database.recipients.get(recipient_id)
    return recipient.address if recipient else None
