"""Check the names of lists."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from database import name_key
from intake.errors import ValidationError

MAX_LENGTH = 100  # characters
SEPARATORS = re.compile("[,;]")  # between the names in a cell of a CSV file
DOTS = (".", "..")  # in a URL, these are folders
MEMBERS = re.compile("/members(?:/|$)", re.IGNORECASE)  # in a URL, this ends the name
JOINERS = "\u200c\u200d"  # invisible, but several scripts and many emoji need them


def clean_list_name(text: str) -> str:
    """Return a name that a list may have. Raises ValidationError."""
    if not text:
        raise ValidationError("name", "is empty")
    if len(text) > MAX_LENGTH:
        raise ValidationError("name", f"is too long (limit: {MAX_LENGTH} characters)")
    if text != text.strip():
        raise ValidationError("name", "begins or ends with a space")
    if not text.isprintable() and (hidden := next(filter(_is_hidden, text), None)):
        raise ValidationError("name", f"contains an invisible character, U+{ord(hidden):04X}")
    if SEPARATORS.search(text):
        raise ValidationError("name", "contains a comma or semicolon; name each list separately")
    if text in DOTS or MEMBERS.search(text):
        raise ValidationError("name", "cannot be used in a URL")
    return text


def distinct_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return the names without duplicates; the first spelling wins."""
    found: dict[str, str] = {}
    for name in names:
        found.setdefault(name_key(name), name)
    return tuple(found.values())


def _is_hidden(character: str) -> bool:
    category = unicodedata.category(character)
    return category in ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp") and character not in JOINERS
