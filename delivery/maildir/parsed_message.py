"""A message of the Maildir, parsed to be shown: its fields, text and HTML. Nothing in it is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from typing import NamedTuple

MAX_HEADER_BYTES = 32 * 1024  # a list looks for the fields in these
MAX_READ_BYTES = 2 * 1000**2  # of one message
MAX_FIELD_LENGTH = 2000  # characters


class ParsedMessage(NamedTuple):
    """The fields of a message in their order, and its text and HTML, if it has them."""

    fields: list[tuple[str, str]]
    text: str | None
    html: str | None

    def field(self, name: str) -> str:
        """Return the value of the first field of this name, or ''."""
        return next((value for each, value in self.fields if each.lower() == name), "")


def parse_message(octets: bytes) -> ParsedMessage:
    """Parse a message. One that is nested too deeply, which only an attacker makes, has neither text nor HTML."""
    try:
        message = BytesParser().parsebytes(octets)
        parts = list(message.walk())
    except RecursionError:  # parts in parts in parts
        return parse_fields(octets)
    return ParsedMessage(_fields(message), _text_of(parts, "text/plain"), _text_of(parts, "text/html"))


def parse_fields(octets: bytes) -> ParsedMessage:
    """Parse only the fields, from the first octets of a message."""
    return ParsedMessage(_fields(BytesHeaderParser().parsebytes(octets[:MAX_HEADER_BYTES])), None, None)


def _fields(message: Message) -> list[tuple[str, str]]:
    return [(_clean(name), _readable(value)) for name, value in message.items()]


def _readable(value: str | Header) -> str:
    """Decode the encoded words in a field's value if they are valid."""
    text = str(value)[:MAX_FIELD_LENGTH]
    try:
        return _clean(str(make_header(decode_header(text))))
    except (HeaderParseError, LookupError, ValueError):
        return _clean(text)


def _clean(text: str) -> str:
    """Put a text on one line, and replace lone surrogates, which a page cannot contain."""
    return " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")


def _text_of(parts: list[Message], kind: str) -> str | None:
    """Return the first part of this type. Everything that this program writes is UTF-8."""
    return next(_decoded(parts, kind), None)


def _decoded(parts: list[Message], kind: str) -> Iterator[str]:
    for part in parts:
        if part.get_content_type() == kind:
            octets = part.get_payload(decode=True)
            if isinstance(octets, bytes):
                yield octets.decode("utf-8", "replace")
