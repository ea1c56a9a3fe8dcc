"""The form for an email: read it, turn it into an email, and fill it in from one."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from flask import Response, make_response, render_template, request

from database import Address, Email, List, name_key
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
from intake.errors import RepeatedTime, ValidationError
from intake.fields import Fields, InvalidFields, choice, number, text
from intake.text import printable
from web.form import read_page_form_with_options
from web.pages.filters import offset
from web.pages.undo import UNDO_SECONDS, undo_deadline
from web.sendable import require_sendable
from web.services import current_settings, in_database

OPTION_FIELDS = ("email_reply_to", "email_from_name", "email_recipients_max")
# What a template keeps, besides lists.
TEXT_FIELDS = ("email_subject", "email_content", "audience", "email_to", *OPTION_FIELDS, "email_personal")
FORM_FIELDS = (
    *("event_id", "proposed", "version", "email_subject", "email_content", "when", "timestamp", "offset", "audience"),
    *("email_to", *OPTION_FIELDS, "email_personal", "shown_to", "draft_id", "draft_version"),
)
AS_WRITTEN = "no"  # the value of email_personal that sends braces as written
# Repeated in the form, joined by SEPARATOR everywhere else. No name of a list contains it.
LIST_FIELDS = ("email_list", "email_exclude_list")
SEPARATOR = ";"
MAX_SHOWN_LISTS = 1_000
MAX_COUNTED_DRAFTS = 100
AUDIENCES = ("everyone", "lists", "to")
NOW, LATER = "now", "later"  # the values of `when`
LABELS = {
    "email_subject": "The subject",
    "email_content": "The content",
    "when": "The choice of a time",
    "timestamp": "The time",
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
    read = read_page_form_with_options(request, (*FORM_FIELDS, "step", "address", "template_name"), LIST_FIELDS)
    form = read.fields | {name: SEPARATOR.join(values) for name, values in read.options.items()}
    for name in ("email_content", "email_to"):
        form[name] = form.get(name, "").replace("\r\n", "\n")  # undoes the line ends of browsers
    return form


def fields_of(email: Email) -> dict[str, str]:
    """Return the form, filled in from a saved email."""
    local = email.due_at.astimezone(current_settings().timezone)
    return {
        **text_fields_of(email),
        "version": email.version,
        "timestamp": local.replace(tzinfo=None).isoformat(timespec="seconds"),
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
    zone, chosen = current_settings().timezone, form.get("offset", "")
    event_id = target.event_id
    typed_id = form.get("event_id", "").strip() or form.get("proposed") if event_id is None else str(event_id)
    filled = {name: value for name, value in form.items() if value.strip() or name not in OPTION_FIELDS}
    fields = Fields({**filled, "event_id": typed_id}, (*form, "event_id"))
    number_of_email = fields.take("event_id", number)
    subject = fields.take("email_subject", text(clean_subject))
    content = fields.take("email_content", text(clean_content))
    when = fields.take_or("when", choice(NOW, LATER), LATER).value_or(LATER)
    due_at = (
        fields.take("timestamp", text(lambda value: clean_local_time(value, zone, chosen))) if when == LATER else None
    )
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
            _options(audience.value, form)._replace(
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


def form_page(
    target: Target,
    form: Form,
    error: InvalidFields | None = None,
    *,
    notice: Notice | None = None,
    saved_at: datetime | None = None,
    code: int = 200,
) -> Response:
    """Return the page with the form, filled in. `saved_at` is when its draft was saved, if it shows just that."""
    errors = {each.field: sentence(LABELS[each.field], each.message) for each in (error.errors if error else ())}
    lists = in_database(lambda database: database.lists.page(limit=MAX_SHOWN_LISTS, archived=False))
    selected = {name: {name_key(each): each for each in _names(form, name)} for name in LIST_FIELDS}
    page = render_template(
        "email_new.html",
        target=target,
        form={"proposed": free_number(), **form},
        errors=errors,
        notice=notice,
        saved_at=saved_at,
        drafts=in_database(lambda database: database.drafts.count(MAX_COUNTED_DRAFTS)),
        readings=_readings(form),
        now=datetime.now(UTC),
        recipients=_active_recipients(),
        as_written=AS_WRITTEN,
        has_braces=is_personal({**form, "email_personal": ""}),
        lists=lists,
        selected=selected,
        missing={name: _missing(selected[name], lists) for name in LIST_FIELDS},
        name_key=name_key,
        undo_seconds=UNDO_SECONDS,
    )
    return make_response(page, 400 if errors else code)


def _options(audience: str, form: Form) -> Options:
    """Return who the form selects. Raises ValidationError."""
    lists, exclude_lists = (_names(form, name) for name in LIST_FIELDS)
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


def _names(form: Form, field: str) -> list[str]:
    return [name for name in form.get(field, "").split(SEPARATOR) if name]


def _missing(selected: Mapping[str, str], lists: list[List]) -> list[str]:
    """Return the names of selected lists that the form would not offer: they are archived or deleted."""
    offered = {name_key(each.name) for each in lists}
    return [name for key, name in selected.items() if key not in offered]


def _readings(form: Form) -> dict[str, datetime]:
    """Return the two instants of a local time that occurs twice, by their offsets."""
    zone = current_settings().timezone
    try:
        clean_local_time(form.get("timestamp", ""), zone)
    except RepeatedTime as error:
        return {offset(instant.astimezone(zone)): instant for instant in error.readings}
    except ValidationError:
        pass
    return {}


def _active_recipients() -> int:
    return in_database(lambda database: database.recipients.counts())["active"]
