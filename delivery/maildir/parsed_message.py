"""A message of the Maildir, read for a person: its fields, its text and its HTML. Nothing in it is trusted."""

from __future__ import annotations

from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import Header, decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser, BytesParser
from typing import NamedTuple

FIELDS = 32 * 1024  # octets in which a list looks for the fields
READ = 2 * 1000**2  # octets of a message that are read
LONGEST = 2000  # characters of a field that are shown


class Letter(NamedTuple):
    """Its fields in their order; its text and HTML, where it has them."""

    fields: list[tuple[str, str]]
    text: str | None
    html: str | None

    def field(self, name: str) -> str:
        """The value of the first field of this name, or nothing."""
        return next((value for each, value in self.fields if each.lower() == name), "")


def letter_of(octets: bytes) -> Letter:
    """The letter that these octets are. One that only a hostile hand can have made has no text and no HTML."""
    try:
        message = BytesParser().parsebytes(octets)
        parts = list(message.walk())
    except RecursionError:  # parts in parts in parts
        return fields_of(octets)
    return Letter(_fields(message), _text_of(parts, "text/plain"), _text_of(parts, "text/html"))


def fields_of(octets: bytes) -> Letter:
    """The fields alone, by the first octets."""
    return Letter(_fields(BytesHeaderParser().parsebytes(octets[:FIELDS])), None, None)


def _fields(message: Message) -> list[tuple[str, str]]:
    return [(_clean(name), _readable(value)) for name, value in message.items()]


def _readable(value: str | Header) -> str:
    """A field's value with its encoded words decoded, if they can be."""
    text = str(value)[:LONGEST]
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
