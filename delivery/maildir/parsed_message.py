"""Parse a message of the Maildir for display: its header fields, text and HTML. Nothing in it is trusted."""

from __future__ import annotations

from collections.abc import Container, Iterator
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from typing import NamedTuple

MAX_HEADER_BYTES = 32 * 1024  # a list reads this much of each message to find its header fields
MAX_READ_BYTES = 2 * 1000**2  # of one message
MAX_FIELD_LENGTH = 2000  # characters


class ParsedMessage(NamedTuple):
    """The header fields of a message in order, as (name, value), and its text and HTML, if any."""

    fields: list[tuple[str, str]]
    text: str | None
    html: str | None

    def field(self, name: str) -> str:
        """Return the value of the first field with this name (in lower case), or ''."""
        return next((value for each, value in self.fields if each.lower() == name), "")


def parse_message(octets: bytes) -> ParsedMessage:
    """Parse a message. If it is nested too deeply, as only an attacker would send it, it has neither text nor HTML."""
    try:
        message = BytesParser().parsebytes(octets)
        parts = list(message.walk())
    except RecursionError:
        return parse_fields(octets)
    return ParsedMessage(_fields(message), _text_of(parts, "text/plain"), _text_of(parts, "text/html"))


def parse_fields(octets: bytes, names: Container[str] | None = None) -> ParsedMessage:
    """Parse the header fields at the beginning of a message: all, or those with one of `names` (in lower case)."""
    header, end, _ = octets[:MAX_HEADER_BYTES].partition(b"\n\n")
    return ParsedMessage(_fields(BytesHeaderParser().parsebytes(header + end), names), None, None)


def _fields(message: Message, names: Container[str] | None = None) -> list[tuple[str, str]]:
    fields = message.items()
    if names is not None:
        fields = [(name, value) for name, value in fields if name.lower() in names]
    return [(_clean(name), _readable(value)) for name, value in fields]


def _readable(value: str | Header) -> str:
    """Decode the encoded words in the value of a field, if they are valid."""
    text = str(value)[:MAX_FIELD_LENGTH]
    if "=?" not in text:
        return _clean(text)
    try:
        return _clean(str(make_header(decode_header(text))))
    except (HeaderParseError, LookupError, ValueError):
        return _clean(text)


def _clean(text: str) -> str:
    """Put text on one line and replace lone surrogates, which a page cannot contain."""
    return " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")


def _text_of(parts: list[Message], kind: str) -> str | None:
    """Return the text of the first part of this type, or None. Everything that this program writes is UTF-8."""
    return next(_decoded(parts, kind), None)


def _decoded(parts: list[Message], kind: str) -> Iterator[str]:
    for part in parts:
        if part.get_content_type() == kind:
            octets = part.get_payload(decode=True)
            if isinstance(octets, bytes):
                yield octets.decode("utf-8", "replace")
