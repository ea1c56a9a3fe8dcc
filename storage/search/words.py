"""The words of a search, and the texts in which they are searched, in the form used for comparison.

An address is searched in the form of Address.key. The values of personal fields are folded by `fold_value`, so that
case does not count in any script, and neither do ligatures or full-width letters.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

SEPARATOR = "\n\n"  # between texts, and after the last one; no word contains it
_decode = json.JSONDecoder().decode


class Word(NamedTuple):
    """A word of a search, in both forms. It is found in an address or in the value of a personal field."""

    address: str  # folded as Address.key is
    value: str  # folded by `fold_value`


def fold_value(text: str) -> str:
    """Return text in the form in which the values of personal fields are compared (NFKC, without case)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def values_text(fields: str | None) -> str:
    """Return the folded values of a recipient's personal fields, which are stored as JSON, in one text.

    Operators write to this table too: anything but an object counts as none, and so does a value that is not a text.
    """
    if not fields:
        return ""
    try:
        values = _decode(fields)
    except ValueError:
        return ""
    if not isinstance(values, dict):
        return ""
    return fold_value(SEPARATOR.join(value for value in values.values() if isinstance(value, str)))


def may_have_values(fields: str, words: Iterable[str]) -> bool:
    """Return False if the values of these fields certainly lack one of the folded words. Fast: decodes no JSON."""
    if "\\" in fields:  # an escaped character
        return True
    text = fold_value(fields)
    return all(word in text for word in words)


def indexed_text(address_key: str, fields: str | None) -> str:
    """Return everything that a search of this recipient can find, with a separator after each text."""
    values = values_text(fields)
    return f"{address_key}{SEPARATOR}{values}{SEPARATOR}" if values else f"{address_key}{SEPARATOR}"
