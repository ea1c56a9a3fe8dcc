"""The form for an email: read it, turn it into an email, and fill it in from one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from flask import request

from database import Address, Email
from intake.address import clean_typed_address, split_addresses
from intake.email_fields import clean_content, clean_local_time, clean_subject
from intake.email_options import (
    FOR_EVERYONE,
    FORM_NAMES,
    MAX_JSON_ADDRESSES,
    Options,
    clean_from_name,
    clean_recipients_max,
    clean_reply_to,
    with_options,
)
from intake.errors import ValidationError
from intake.fields import Fields, InvalidFields, choice, number, text
from intake.text import printable
from web.form import read_page_form_with_options
from web.pages.compose.zones import clean_zone
from web.pages.filters import offset
from web.pages.undo import undo_deadline
from web.sendable import require_sendable
from web.services import current_settings, in_database

OPTION_FIELDS = ("email_reply_to", "email_from_name", "email_recipients_max")
# What a template keeps, besides lists.
TEXT_FIELDS = ("email_subject", "email_content", "audience", "email_to", *OPTION_FIELDS, "email_personal")
FORM_FIELDS = (
    *("event_id", "proposed", "version", "email_subject", "email_content", "when", "timestamp", "zone", "offset"),
    *("audience", "email_to", *OPTION_FIELDS, "email_personal", "shown_to", "draft_id", "draft_version"),
)
STEP_FIELDS = ("step", "address", "template_name")
AS_WRITTEN = "no"  # the value of email_personal that sends braces as written
# Repeated in the form, joined by SEPARATOR everywhere else. No name of a list contains it.
LIST_FIELDS = ("email_list", "email_exclude_list")
SEPARATOR = ";"
AUDIENCES = ("everyone", "lists", "to")
NOW, LATER = "now", "later"  # the values of `when`
LABELS = {
    "email_subject": "The subject",
    "email_content": "The content",
    "when": "The choice of a time",
    "timestamp": "The time",
    "zone": "The time zone",
    "event_id": "The email ID",
    "audience": "The choice of recipients",
    "email_list": "The choice of lists",
    "email_exclude_list": "The choice of lists to leave out",
    "email_to": "The addresses",
    "email_reply_to": "The reply address",
    "email_from_name": "The sender’s name",
    "email_recipients_max": "The limit",
    "address": "The address",
    "template_name": "The name of the template",
    "shown_to": "The address",
}
Form = Mapping[str, str]


class Target(NamedTuple):
    """What the form saves: a new email, or another version of the saved one with this event_id."""

    event_id: int | None = None

    @property
    def path(self) -> str:
        """The URL of the form."""
        return "/emails/new" if self.event_id is None else f"/emails/{self.event_id}/edit"


class Notice(NamedTuple):
    """A notice above the form: its category and text, and a link to what is saved, if there is anything."""

    category: str
    text: str
    path: str = ""
    link: str = "Open the saved email"
    offers_new: bool = False  # whether what was written can be used for a new email
    offers_draft: bool = False  # whether it can be saved as a new draft


def read_form() -> dict[str, str]:
    """Return the fields of the submitted form, whatever they contain. Raises ValidationError if it is unreadable."""
    read = read_page_form_with_options(request, (*FORM_FIELDS, "date", "time", *STEP_FIELDS), LIST_FIELDS)
    form = read.fields | {name: SEPARATOR.join(values) for name, values in read.options.items()}
    day, clock = form.pop("date", ""), form.pop("time", "")
    form["timestamp"] = form.get("timestamp") or (f"{day}T{clock}" if day or clock else "")
    for name in ("email_content", "email_to"):
        form[name] = form.get(name, "").replace("\r\n", "\n")  # undoes the line ends of browsers
    return form


def fields_of(email: Email) -> dict[str, str]:
    """Return the form, filled in from a saved email."""
    local = email.due_at.astimezone(current_settings().timezone)
    return {
        **text_fields_of(email),
        "version": email.version,
        "timestamp": local.replace(tzinfo=None).isoformat(timespec="seconds" if local.second else "minutes"),
        "offset": offset(local),
    }


def text_fields_of(email: Email) -> dict[str, str]:
    """Return the form, filled in from an email, but without its time."""
    audience = email.audience
    limit = email.recipients_max
    has_braces = any("{{" in part for part in (email.subject, email.content))
    return {
        "email_subject": email.subject,
        "email_content": email.content.replace("\r\n", "\n"),
        "audience": "to" if audience.to else "lists" if audience.lists else "everyone",
        "email_list": SEPARATOR.join(audience.lists),
        "email_exclude_list": SEPARATOR.join(audience.exclude_lists),
        "email_to": "\n".join(address.text for address in audience.to),
        "email_reply_to": email.reply_to or "",
        "email_from_name": email.from_name or "",
        "email_recipients_max": "" if limit is None else str(limit),
        "email_personal": AS_WRITTEN if has_braces and not email.personal else "",
    }


def clean(form: Form, target: Target) -> Email:
    """Return the email. Raises InvalidFields, which lists every invalid field."""
    event_id = target.event_id
    typed_id = form.get("event_id", "").strip() or form.get("proposed") if event_id is None else str(event_id)
    filled = {name: value for name, value in form.items() if value.strip() or name not in OPTION_FIELDS}
    fields = Fields({**filled, "event_id": typed_id}, (*form, "event_id"))
    number_of_email = fields.take("event_id", number)
    subject = fields.take("email_subject", text(clean_subject))
    content = fields.take("email_content", text(clean_content))
    when = fields.take_or("when", choice(NOW, LATER), LATER).value_or(LATER)
    own = current_settings().timezone
    zone = fields.take_or("zone", text(clean_zone), own).value_or(own)
    due_at = fields.take("timestamp", text(lambda value: clean_time_in(value, zone, form))) if when == LATER else None
    audience = fields.take_or("audience", choice(*AUDIENCES), "")
    options = (
        fields.take_or("email_reply_to", text(clean_reply_to), None),
        fields.take_or("email_from_name", text(clean_from_name), None),
        fields.take_or("email_recipients_max", lambda value: clean_recipients_max(number(value)), None),
    )
    fields.check()
    due = due_at.value if due_at is not None else undo_deadline()
    email = Email(number_of_email.value, subject.value, content.value, due)
    reply_to, from_name, recipients_max = (option.value for option in options)
    try:
        email = with_options(
            email,
            options_of(audience.value, form)._replace(
                recipients_max=recipients_max,  # type: ignore[arg-type]
                reply_to=reply_to,  # type: ignore[arg-type]
                from_name=from_name,  # type: ignore[arg-type]
            ),
            FORM_NAMES,
            current_settings().default_audience,
        )
        return require_sendable(email._replace(personal=is_personal(form)))
    except ValidationError as error:
        raise InvalidFields([error]) from error


def is_sent_now(email: Email, form: Form) -> bool:
    """Return whether the email is sent now: on request, or because its time has passed."""
    return form.get("when") == NOW or email.due_at <= datetime.now(UTC)


def is_personal(form: Form) -> bool:
    """Return whether names in braces are filled in: if there are braces, unless they are to be sent as written."""
    has_braces = any("{{" in form.get(name, "") for name in ("email_subject", "email_content"))
    return has_braces and form.get("email_personal") != AS_WRITTEN


def free_number() -> int:
    """Return an unused event_id: milliseconds since 1970, which no counter reaches and JavaScript does not round."""
    return time.time_ns() // 1_000_000


def sentence(label: str, message: str) -> str:
    """Return a message about a field as a sentence. It begins with the label, unless the message is a sentence."""
    return message if message[:1].isupper() else f"{label} {message.rstrip('.')}."


def options_of(audience: str, form: Form) -> Options:
    """Return who the form selects. Raises ValidationError."""
    lists, exclude_lists = (names_in(form, name) for name in LIST_FIELDS)
    if lists and audience in ("to", "everyone"):
        chosen = "Only these addresses" if audience == "to" else "Everyone"
        raise ValidationError("audience", f"You selected lists, but also “{chosen}”. Choose one.")
    if audience == "lists" and not lists:
        raise ValidationError("email_list", "Select at least one list.")
    typed = form.get("email_to", "").strip()
    if audience == "to":
        if exclude_lists:
            raise ValidationError("email_exclude_list", "cannot be combined with “Only these addresses”")
        return Options(to=_addresses(typed))
    if typed:
        raise ValidationError(
            "audience", "You entered addresses, but did not select “Only these addresses”. Choose one."
        )
    if not audience and (lists or in_database(lambda database: database.lists.counts()).active):
        raise ValidationError("audience", "Choose who gets this email.")
    everyone = FOR_EVERYONE if audience == "everyone" else None
    return Options(audience=everyone, lists=lists, exclude_lists=exclude_lists)


def _addresses(typed: str) -> list[Address]:
    """Return the addresses. Raises ValidationError."""
    single_label = current_settings().single_label_domains
    addresses = []
    for line, entry in split_addresses(typed):
        try:
            addresses.append(clean_typed_address(entry, single_label=single_label))
        except ValidationError as error:
            message = f"are not valid: line {line:,}, {printable(entry, 80)} {error.message}"
            raise ValidationError("email_to", message) from None
        if len(addresses) > MAX_JSON_ADDRESSES:
            raise ValidationError("email_to", f"are more than {MAX_JSON_ADDRESSES:,}; use a list instead")
    if not addresses:
        raise ValidationError("email_to", "are missing; enter at least one")
    return addresses


def names_in(form: Form, field: str) -> list[str]:
    """Return the names of lists in a field."""
    return [name for name in form.get(field, "").split(SEPARATOR) if name]


def clean_time_in(typed: str, zone: ZoneInfo, form: Form) -> datetime:
    """Return the instant of a time typed in `zone`. Raises ValidationError if it does not exist or is ambiguous."""
    if len(typed) > 1 and "T" in (typed[0], typed[-1]):
        raise ValidationError("timestamp", "Choose both a date and a time.")
    return clean_local_time(typed, zone, form.get("offset", ""))
