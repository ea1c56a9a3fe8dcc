"""Parse the placeholders of personal fields: `{{ name }}` and `{{ name | default }}`. `{{{{` stands for two braces.

There are no expressions: a placeholder has a name, and perhaps a text for recipients who have no value. Anything else
between braces is an error, so that no recipient sees braces. `html_placeholders.py` parses HTML, where it matters where
a placeholder is.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import NamedTuple
from unicodedata import category, normalize

from delivery.errors import MessageError
from delivery.lazy_pattern import LazyPattern
from delivery.message.html_tokens import unescaped

MAX_PLACEHOLDERS = 1000  # in one text
MAX_NAME_LENGTH = 64  # characters
MAX_LINE_LENGTH = 10_000  # characters that are searched for the end of a placeholder, to explain an error

_BRACES = LazyPattern(r"\{\{\{\{|\{\{|\{%(?=[^\r\n]{0,200}%\})")
_LINE_END = LazyPattern(r"\r\n|\r|\n")
_BLANK = " \t\u00a0\u200b\ufeff"  # editors of HTML insert the last three
_SHOWN_LENGTH = 40  # characters of the content that an error repeats
# Control characters, line separators, unpaired surrogates, and characters that reverse the text after them.
UNSAFE = LazyPattern("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_URL = LazyPattern(r"(?:https?://|mailto:)\S", re.IGNORECASE)


class PlaceholderError(MessageError):
    """A placeholder is broken, or is in a place where none can be. `line` and `column` count from 1."""

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {reason}")
        self.reason = reason
        self.line = line
        self.column = column


class Context(Enum):
    """What surrounds a placeholder, which decides how a value is escaped."""

    TEXT = "text"  # plain text or a subject
    HTML = "html"  # text in HTML, or a quoted attribute
    URL = "url"  # inside a URL
    MAILTO = "mailto"  # inside a mailto: URL
    PHONE = "phone"  # inside a tel: or sms: URL
    WHOLE_URL = "whole_url"  # at the beginning of a URL: the value must be an http, https or mailto URL


class Placeholder(NamedTuple):
    """A placeholder, and where it is. `default` is the text for recipients without a value, or None."""

    name: str
    default: str | None
    context: Context
    line: int
    column: int


class Template(NamedTuple):
    """A text in pieces, with a placeholder between each two."""

    pieces: list[str]
    placeholders: list[Placeholder]

    def filled(self, values: Sequence[str]) -> str:
        """Return the text with these values in place of the placeholders. They are not escaped."""
        texts = [self.pieces[0]]
        for value, piece in zip(values, self.pieces[1:], strict=True):
            texts += (value, piece)
        return "".join(texts)


def parse_text(text: str) -> Template:
    """Return the template of a subject or of plain text. Raises PlaceholderError."""
    parser = TemplateParser(text)
    parser.parse(0, len(text), lambda _: Context.TEXT)
    return parser.template()


def is_field_name(name: str) -> bool:
    """Return whether this, in NFC, can be the name of a personal field: lower-case letters, digits and `_`.

    Scripts such as Thai and Hindi write vowels as marks, so marks count as letters.
    """
    if not 0 < len(name) <= MAX_NAME_LENGTH or name != name.lower():
        return False
    return all(char == "_" or char.isdecimal() or category(char)[0] in "LM" for char in name)


def is_url(value: str) -> bool:
    """Return whether a link may lead to this value: it is an http, https or mailto URL."""
    return _URL.match(value) is not None


class TemplateParser:
    """Parses a text region by region, from its beginning to its end. Text between regions has no placeholders."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._pieces: list[list[str]] = [[]]
        self._placeholders: list[Placeholder] = []
        self._copied = 0  # everything before this is in _pieces
        self._line, self._line_start = 1, 0  # of the last position in _line_and_column

    def parse(self, start: int, end: int, context_at: Callable[[int], Context], *, is_html: bool = False) -> None:
        """Parse a region. `context_at` takes the position of a placeholder, and raises an error if none can be there.

        In HTML, the text between the braces is HTML too: its character references are resolved.
        """
        position = start
        while braces := _BRACES.search(self.source, position, end):
            if braces[0] == "{{{{":
                self._copy(braces.end() - 2)
                self._copied = position = braces.end()
                continue
            if braces[0] == "{%":
                raise self.error(braces.start(), "{% … %} cannot be used; only {{ name }} can")
            position = self._placeholder(braces.start(), end, context_at(braces.start()), is_html=is_html)

    def template(self) -> Template:
        """Return the template, once all regions have been parsed."""
        self._copy(len(self.source))
        return Template(["".join(piece) for piece in self._pieces], self._placeholders)

    def error(self, position: int, reason: str) -> PlaceholderError:
        """Return the error for a position."""
        return PlaceholderError(reason, *self._line_and_column(position))

    def count(self) -> int:
        """Return how many placeholders have been found."""
        return len(self._placeholders)

    def _placeholder(self, start: int, end: int, context: Context, *, is_html: bool) -> int:
        """Add the placeholder that begins at `start`. Return where it ends."""
        close = self.source.find("}}", start + 2, end)
        inner = self.source[start + 2 : close]
        if close < 0 or "\n" in inner or "\r" in inner:
            raise self.error(start, self._why_unclosed(start))
        shown = _shown(self.source[start : close + 2])
        if "{" in inner or "}" in inner:
            raise self.error(start, f"{shown} contains nested braces")
        if is_html:
            inner = unescaped(inner)
        written, bar, rest = inner.partition("|")
        name = normalize("NFC", written.strip(_BLANK))
        default = rest.strip(_BLANK) if bar else None
        if not is_field_name(name):
            raise self.error(start, f"{shown} is not a placeholder; {_advice(name)}")
        if default is not None:
            self._check_default(start, name, default, context)
        if len(self._placeholders) >= MAX_PLACEHOLDERS:
            raise self.error(start, f"there are more than {MAX_PLACEHOLDERS:,} placeholders")
        self._copy(start)
        self._copied = close + 2
        self._pieces.append([])
        self._placeholders.append(Placeholder(name, default, context, *self._line_and_column(start)))
        return close + 2

    def _check_default(self, start: int, name: str, default: str, context: Context) -> None:
        if "|" in default or re.match(r"default\s*[:(]", default):
            raise self.error(start, f"only plain text can follow the bar, as in {{{{ {name} | there }}}}")
        if unsafe := UNSAFE.search(default):
            raise self.error(start, f"the text after the bar contains U+{ord(unsafe.group()):04X}")
        if context is Context.WHOLE_URL and not is_url(default):
            raise self.error(start, "the text after the bar must begin with https://, http:// or mailto: in a link")

    def _why_unclosed(self, start: int) -> str:
        line = self.source[start : start + MAX_LINE_LENGTH].splitlines()[0]
        if "}}" in line:
            return f"{_shown(line[: line.index('}}') + 2])} contains a tag or a quotation mark"
        return f"the braces of {_shown(line)} are not closed on this line; write {{{{{{{{ for braces"

    def _copy(self, end: int) -> None:
        self._pieces[-1].append(self.source[self._copied : end])
        self._copied = end

    def _line_and_column(self, position: int) -> tuple[int, int]:
        """Return the line and column of a position, which is not before that of the previous call."""
        for line_end in _LINE_END.finditer(self.source, self._line_start, position):
            self._line, self._line_start = self._line + 1, line_end.end()
        return self._line, position - self._line_start + 1


def _advice(name: str) -> str:
    proposal = re.sub(r"[\s.-]+", "_", name.lower())
    if name and is_field_name(proposal):
        return f"write {{{{ {proposal} }}}}"
    return "names consist of lower-case letters, digits and _; write {{{{ for braces"


def _shown(text: str) -> str:
    text = text if len(text) <= _SHOWN_LENGTH else text[: _SHOWN_LENGTH - 1] + "…"
    return "".join(char if char.isprintable() else " " for char in text)
