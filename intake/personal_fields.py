"""Personal fields of recipients: their names, and what a value may contain.

A name has lower-case letters of any script, digits and `_`. Scripts such as Thai and Hindi write vowels as marks, so
marks count as letters.
"""

from __future__ import annotations

import json.encoder
import re
import unicodedata
from collections.abc import Mapping

from intake.email_fields import CONTROL, UNSTORABLE
from intake.errors import ValidationError
from intake.text import printable

MAX_FIELDS = 32  # of one recipient
MAX_NAME_LENGTH = 64  # characters
MAX_VALUE_LENGTH = 1_000  # characters
RESERVED_NAMES = ("recipient_email", "recipient_status", "recipient_lists")  # columns of an exported file
NAME_RULE = "use only lower-case letters, digits and _"

# Some programs put these around numbers. Inside a text, they would reverse what follows it in a message.
_DIRECTIONS = "\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
_REVERSING = re.compile("[\u202a-\u202e\u2066-\u2069]")
_STRIPPED = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\ufeff" + _DIRECTIONS
_quote = json.encoder.encode_basestring


def field_name(text: str) -> str:
    """Return the field name for the header of a column: `First name` becomes `first_name`. Empty if nothing is left.

    A header that is a valid name already stays as it is.
    """
    if is_name(text):
        return text
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text[: 4 * MAX_NAME_LENGTH]).lower())
    letters = folded.replace("'", "").replace("\u2019", "")
    kept = "".join(character if _is_allowed(character) else " " for character in letters)
    return "_".join(kept.replace("_", " ").split())[:MAX_NAME_LENGTH].rstrip("_")


def is_name(text: str) -> bool:
    """Return whether this is the name of a field, in NFC."""
    return (
        0 < len(text) <= MAX_NAME_LENGTH
        and text == unicodedata.normalize("NFC", text.lower())
        and all(character == "_" or _is_allowed(character) for character in text)
    )


def clean_name(text: str) -> str:
    """Return the name of a field, in NFC. Raises ValidationError."""
    name = unicodedata.normalize("NFC", text)
    if len(name) > MAX_NAME_LENGTH:
        raise ValidationError("field", f"has a name that is too long (limit: {MAX_NAME_LENGTH} characters)")
    if name in RESERVED_NAMES:
        raise ValidationError("field", f"cannot be named {name}")
    if not is_name(name):
        suggestion = field_name(text)
        hint = f", such as {suggestion}" if suggestion else ""
        raise ValidationError("field", f"is not a valid name: {NAME_RULE}{hint}")
    return name


def check_value(text: str) -> str:
    """Return what is wrong with a value, or an empty string."""
    if len(text) > MAX_VALUE_LENGTH:
        return f"is too long (limit: {MAX_VALUE_LENGTH:,} characters)"
    if not text.isprintable():
        if UNSTORABLE.search(text):
            return "contains characters that are neither UTF-8 nor Windows-1252"
        if CONTROL.search(text):
            return "contains a line break or control character"
        if _REVERSING.search(text):
            return "contains an invisible character that changes the direction of text"
    return ""


def stripped(text: str) -> str:
    """Return a value without what surrounds it: spaces, and invisible marks for the direction of text."""
    value = text.strip()
    return value if value.isascii() else value.strip(_STRIPPED)


def clean_fields(values: object) -> dict[str, str]:
    """Return the fields of a JSON object: names in NFC, and values that are not empty. Raises ValidationError."""
    if not isinstance(values, dict):
        raise ValidationError("fields", "is not a JSON object")
    cleaned: dict[str, str] = {}
    for given, text in values.items():
        try:
            name = clean_name(given)
        except ValidationError as error:
            raise ValidationError("fields", f"{printable(given, MAX_NAME_LENGTH)} {error.message}") from None
        if not isinstance(text, str):
            raise ValidationError("fields", f"{name} is not a string")
        value = stripped(text)
        if fault := check_value(value):
            raise ValidationError("fields", f"{name} {fault}")
        if value:
            cleaned[name] = value
    if len(cleaned) > MAX_FIELDS:
        raise ValidationError("fields", f"has too many fields (limit: {MAX_FIELDS})")
    return cleaned


def as_json(fields: Mapping[str, str]) -> str:
    """Return the fields as a JSON object, or an empty string if there are none."""
    members = [f"{_quote(name)}: {_quote(value)}" for name, value in fields.items()]
    return f"{{{', '.join(members)}}}" if members else ""


def _is_allowed(character: str) -> bool:
    return character.isdecimal() or unicodedata.category(character)[0] in "LM"
