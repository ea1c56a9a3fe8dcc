"""The optional fields of an email: who it is for, and what its messages look like.

The form and the JSON API have different names for the same fields: FORM_NAMES and JSON_NAMES. Both collect clean values
in `Options`. Then `with_options` checks what belongs together, and returns the email.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from database import EVERYONE, Address, Audience, Email, UnusableList, name_key
from intake.address import clean_address, distinct
from intake.email_fields import clean_header_text
from intake.errors import ValidationError
from intake.list_names import clean_list_name, distinct_names
from intake.text import one_line
from settings.parse import RefusedError, mailbox

MAX_LISTS = 100
MAX_FORM_ADDRESSES = 50
MAX_JSON_ADDRESSES = 1_000
MAX_NAME_LENGTH = 200  # characters of a display name
MAX_MAILBOX_LENGTH = 2 * MAX_NAME_LENGTH + 400  # characters; those of a quoted name may each have a backslash
MAX_SHOWN_LENGTH = 80  # characters of a value in an error
FOR_EVERYONE = "everyone"
# What a document calls the audience of an email, by the kind that is stored.
AUDIENCE_WORDS = {"everyone": FOR_EVERYONE, "everyone_but": FOR_EVERYONE, "lists": "lists", "named": "to"}
REQUIRED = "required"  # the DEFAULT_AUDIENCE with which every email must say who it is for
WHOLE_NUMBER = re.compile("[0-9]{1,30}")
YES_OR_NO = {"yes": True, "no": False}
T = TypeVar("T")


class OptionNames(NamedTuple):
    """What the form or the JSON API calls the optional fields."""

    audience: str = "audience"
    lists: str = "lists"
    exclude_lists: str = "exclude_lists"
    to: str = "to"
    recipients_max: str = "recipients_max"
    reply_to: str = "reply_to"
    from_name: str = "from_name"
    personal: str = "personal"


JSON_NAMES = OptionNames()
FORM_NAMES = OptionNames(
    audience="email_audience",
    lists="email_list",
    exclude_lists="email_exclude_list",
    to="email_to",
    recipients_max="email_recipients_max",
    reply_to="email_reply_to",
    from_name="email_from_name",
    personal="email_personal",
)


class Options(NamedTuple):
    """The clean values of the optional fields."""

    audience: str | None = None  # FOR_EVERYONE, if the email says so
    lists: Sequence[str] = ()
    exclude_lists: Sequence[str] = ()
    to: Sequence[Address] = ()
    recipients_max: int | None = None
    reply_to: str | None = None
    from_name: str | None = None
    personal: bool = False


def with_options(email: Email, options: Options, names: OptionNames, default_audience: str) -> Email:
    """Return the email with its optional fields. Raises ValidationError if they contradict each other.

    `names` are for the error, and `default_audience` is the setting.
    """
    return email._replace(
        audience=_audience(options, names, default_audience),
        recipients_max=options.recipients_max,
        reply_to=options.reply_to,
        from_name=options.from_name,
        personal=options.personal,
    )


def invalid_list(email: Email, error: UnusableList, names: OptionNames) -> ValidationError:
    """Return the error for the field of `email` that has this list."""
    field = names.exclude_lists if error.name in email.audience.exclude_lists else names.lists
    return ValidationError(field, f"is not valid: {error}")


def form_options(form: Mapping[str, Sequence[str]], *, single_label: bool) -> Options:
    """Return the optional fields of a form, as they are named in FORM_NAMES. Raises ValidationError."""

    def each(name: str, clean: Callable[[str], T], limit: int, hint: str = "") -> Sequence[T]:
        values = form.get(name, ())
        if len(values) > limit:
            raise ValidationError(name, f"appears {len(values):,} times (limit: {limit}{hint})")
        return tuple(_clean(name, value, clean) for value in values)

    def one(name: str, clean: Callable[[str], T]) -> T | None:
        values = form.get(name, ())
        if len(values) > 1:
            raise ValidationError(name, "appears more than once")
        return _clean(name, values[0], clean) if values else None

    return Options(
        audience=one(FORM_NAMES.audience, clean_audience),
        lists=each(FORM_NAMES.lists, named(clean_list_name), MAX_LISTS),
        exclude_lists=each(FORM_NAMES.exclude_lists, named(clean_list_name), MAX_LISTS),
        to=each(
            FORM_NAMES.to,
            named(lambda text: clean_address(text, single_label=single_label)),
            MAX_FORM_ADDRESSES,
            f"; the JSON API takes {MAX_JSON_ADDRESSES:,}",
        ),
        recipients_max=one(FORM_NAMES.recipients_max, _whole_number),
        reply_to=one(FORM_NAMES.reply_to, clean_reply_to),
        from_name=one(FORM_NAMES.from_name, clean_from_name),
        personal=one(FORM_NAMES.personal, _yes_or_no) or False,
    )


def named(clean: Callable[[str], T]) -> Callable[[str], T]:
    """Return a function like `clean` whose errors quote the value, for a field that has several."""

    def cleaned(text: str) -> T:
        try:
            return clean(text)
        except ValidationError as error:
            raise ValidationError(error.field, f'"{one_line(text[:MAX_SHOWN_LENGTH])}" {error.message}') from None

    return cleaned


def clean_audience(text: str) -> str:
    """Return FOR_EVERYONE, the only audience that has no field of its own."""
    if text != FOR_EVERYONE:
        raise ValidationError("audience", f'must be "{FOR_EVERYONE}"; lists and addresses have fields of their own')
    return text


def clean_recipients_max(number: int) -> int:
    """Return the largest audience that an email may have."""
    if not 0 < number < 2**63:
        raise ValidationError("recipients_max", "must be a whole number of at least 1")
    return number


def clean_reply_to(text: str) -> str:
    """Return a mailbox, `Name <address>` or an address, in the form in which it is stored."""
    if len(text) > MAX_MAILBOX_LENGTH:
        raise ValidationError("reply_to", f"is too long (limit: {MAX_MAILBOX_LENGTH} characters)")
    name, bracket, rest = text.strip().rpartition("<")
    address, closing, after = rest.partition(">")
    if bool(bracket) != bool(closing) or after:
        raise ValidationError("reply_to", "must be an address, or a name with an address in angle brackets")
    address = clean_address(address.strip(), single_label=True).text
    try:
        parsed = mailbox(f"{name}<{address}>" if bracket else address)
    except RefusedError as refused:
        raise ValidationError("reply_to", f"is not valid; {refused}") from None
    if len(parsed.name) > MAX_NAME_LENGTH:
        raise ValidationError("reply_to", f"has a name that is too long (limit: {MAX_NAME_LENGTH} characters)")
    return parsed.header


def clean_from_name(text: str) -> str:
    """Return a display name that fits into a header."""
    if not text.strip():
        raise ValidationError("from_name", "is blank")
    if len(text) > MAX_NAME_LENGTH:
        raise ValidationError("from_name", f"is too long (limit: {MAX_NAME_LENGTH} characters)")
    return clean_header_text("from_name", text)


def _audience(options: Options, names: OptionNames, default_audience: str) -> Audience:
    """Return who the email is for."""
    if options.to:
        for name, value in (
            (names.lists, options.lists),
            (names.exclude_lists, options.exclude_lists),
            (names.audience, options.audience),
        ):
            if value:
                raise ValidationError(names.to, f"cannot be combined with {name}")
        return Audience(to=tuple(distinct(options.to)))
    if options.lists and options.audience:
        raise ValidationError(names.lists, f"cannot be combined with {names.audience}={FOR_EVERYONE}")
    lists, exclude_lists = distinct_names(options.lists), distinct_names(options.exclude_lists)
    excluded = {*map(name_key, exclude_lists)}
    for name in lists:
        if name_key(name) in excluded:
            raise ValidationError(names.exclude_lists, f'"{one_line(name)}" is also in {names.lists}')
    if not (lists or exclude_lists or options.audience) and default_audience == REQUIRED:
        raise ValidationError(
            names.audience,
            f'is missing; say who the email is for: {names.lists}, {names.to}, or {names.audience} "{FOR_EVERYONE}"',
        )
    return Audience(lists, exclude_lists) if lists or exclude_lists else EVERYONE


def _clean(name: str, text: str, clean: Callable[[str], T]) -> T:
    if not text:
        raise ValidationError(name, "is empty; leave the field out, or give it a value")
    try:
        return clean(text)
    except ValidationError as error:
        raise ValidationError(name, error.message) from None


def _whole_number(text: str) -> int:
    return clean_recipients_max(int(text) if WHOLE_NUMBER.fullmatch(text) else 0)


def _yes_or_no(text: str) -> bool:
    if text not in YES_OR_NO:
        raise ValidationError("personal", 'must be "yes" or "no"')
    return YES_OR_NO[text]
