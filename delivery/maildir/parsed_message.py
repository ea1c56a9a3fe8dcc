"""A message of the Maildir, read for a person: its fields, its text and its HTML. Nothing in it is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from typing import NamedTuple

HEADER_BYTES = 32 * 1024  # a list of messages reads this much of each
MAX_MESSAGE_BYTES = 2 * 1000**2  # more of a message is not read
MAX_FIELD_LENGTH = 2000  # characters


class ParsedMessage(NamedTuple):
    """Its fields in their order; its text and HTML, where it has them."""

    fields: list[tuple[str, str]]
    text: str | None
    html: str | None

    def field(self, name: str) -> str:
        """The value of the first field of this name, or nothing."""
        return next((value for each, value in self.fields if each.lower() == name), "")


def parse_message(octets: bytes) -> ParsedMessage:
    """Parse a message. One that is nested so deeply that only an attacker can have made it has no text and no HTML."""
    try:
        message = BytesParser().parsebytes(octets)
        parts = list(message.walk())
    except RecursionError:  # parts in parts in parts
        return parse_headers(octets)
    return ParsedMessage(_fields(message), _text_of(parts, "text/plain"), _text_of(parts, "text/html"))


def parse_headers(octets: bytes) -> ParsedMessage:
    """Parse only the header fields, from the first HEADER_BYTES bytes."""
    return ParsedMessage(_fields(BytesHeaderParser().parsebytes(octets[:HEADER_BYTES])), None, None)


def _fields(message: Message) -> list[tuple[str, str]]:
    return [(_clean(name), _readable(value)) for name, value in message.items()]


def _readable(value: str | Header) -> str:
    """A field's value with its encoded words decoded, if they can be."""
    text = str(value)[:MAX_FIELD_LENGTH]
    try:
        return _clean(str(make_header(decode_header(text))))
    except (HeaderParseError, LookupError, ValueError):
        return _clean(text)


def _clean(text: str) -> str:
    """In one line, and without halves of characters, which no page can hold."""
    return " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")


def _text_of(parts: list[Message], kind: str) -> str | None:
    """The first part of this kind. All that this program writes is in UTF-8."""
    return next(_decoded(parts, kind), None)


def _decoded(parts: list[Message], kind: str) -> Iterator[str]:
    for part in parts:
        if part.get_content_type() == kind:
            octets = part.get_payload(decode=True)
            if isinstance(octets, bytes):
                yield octets.decode("utf-8", "replace")
