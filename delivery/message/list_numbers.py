"""Numbers of list items, from `start`, `reversed`, `type` and `value` (HTML standard, "The ol element")."""

from __future__ import annotations

import re

from delivery.message.html_tokens import TOKEN, attribute
from delivery.message.inline_style import effects_of

_REVERSED = re.compile(r"reversed", re.IGNORECASE)
_INTEGER = re.compile(r"[ \t\n\f\r]*([+-]?)0*([0-9]{1,10})(?![0-9])")
_TYPES = ("1", "a", "A", "i", "I")
_NUMERALS = ("m", "cm", "d", "cd", "c", "xc", "l", "xl", "x", "ix", "v", "iv", "i")
_ROMAN = tuple(zip((1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1), _NUMERALS, strict=True))
MAX_NUMBER = 2**31 - 1  # browsers ignore larger ones


class Numbering:
    """The markers of one list. `style` comes from its own CSS, as a value of `inline_style.MARKERS`."""

    def __init__(self, attributes: str, style: str | None, length: int | None) -> None:
        """`length` is the number of items if the list is reversed, otherwise None."""
        written = attribute(attributes, "type") if attributes else None
        self.style = style if style is not None else written if written in _TYPES else "1"
        self._step = -1 if length is not None else 1
        start = _integer(attribute(attributes, "start")) if attributes else None
        self._next = start if start is not None else 1 if length is None else length

    def next_marker(self, attributes: str, style: str | None) -> str:
        """Return the marker of the next item, followed by a space, or "" if a browser shows none."""
        if attributes and self.style != "-":
            value = _integer(attribute(attributes, "value"))
            self._next = self._next if value is None else value
            written = attribute(attributes, "type")
            style = style if style is not None else written if written in _TYPES else None
        number, self._next = self._next, self._next + self._step
        style = self.style if style is None else style
        return f"{_numeral(number, style)}. " if style not in ("", "-") else "- " if style else ""


def lengths_of_reversed_lists(html: str) -> dict[int, int]:
    """Return the number of items of each reversed list, keyed by the offset at which the list begins.

    A reversed list counts down from that number.
    """
    lengths: dict[int, int] = {}
    if not _REVERSED.search(html):
        return lengths
    open_lists: list[int | None] = []  # where a reversed list begins; None for any other
    for token in TOKEN.finditer(html):
        tag = (token["tag"] or "").lower()
        if tag in ("ol", "ul", "menu", "dir"):
            if token["slash"]:
                del open_lists[-1:]
            else:
                is_reversed = tag == "ol" and attribute(token["attributes"], "reversed") is not None
                open_lists.append(token.start() if is_reversed else None)
                if is_reversed:
                    lengths[token.start()] = 0
        elif tag == "li" and not token["slash"] and open_lists and open_lists[-1] is not None:
            effects = effects_of("li", token["attributes"])
            lengths[open_lists[-1]] += not (effects and effects.is_gone)
    return lengths


def _integer(text: str | None) -> int | None:
    """Parse an integer as HTML does, ignoring anything after the digits. Return None if there is none."""
    found = _INTEGER.match(text) if text else None
    number = int(found[1] + found[2]) if found else MAX_NUMBER + 1
    return number if abs(number) <= MAX_NUMBER else None


def _numeral(number: int, style: str) -> str:
    if style in ("a", "A") and number > 0:
        letters = ""
        while number:
            number, letter = divmod(number - 1, 26)
            letters = chr(ord(style) + letter) + letters
        return letters
    if style in ("i", "I") and 0 < number < 4000:
        numeral = ""
        for value, letters in _ROMAN:
            numeral += letters * (number // value)
            number %= value
        return numeral if style == "i" else numeral.upper()
    return str(number)
