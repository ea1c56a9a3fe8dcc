"""Content -> MIME entity (RFC 2045, 2046): which parts there are, and how each crosses a server.

Nothing here knows about dots; see `message.py`.
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp
from io import BytesIO
from itertools import count
from typing import NamedTuple

from delivery.errors import MessageError

LONGEST_LINE = 998  # octets, without CRLF (RFC 5322, 2.1.1)
HEADERS = 400  # an upper bound of what an entity has beside its parts' text, per part

_PRINTABLE = bytes({*range(0x20, 0x7F), *b"\t\r\n"} - {*b"="})  # what quoted-printable leaves alone
_HTML = re.compile("<!DOCTYPE html|<html", re.IGNORECASE)


class Part(NamedTuple):
    """One text, as UTF-8 with CRLF line ends."""

    subtype: str
    text: bytes


def parts_of(content: str) -> list[Part]:
    """HTML gets a plain text before it, for those who see no HTML. Raises MessageError for what is no text."""
    if "\0" in content:
        raise MessageError("the content holds U+0000")
    try:
        if not _HTML.search(content):
            return [Part("plain", _normalised(content))]
        from delivery.plain_text import plain_text  # costs 12 ms, and most emails are plain

        return [Part("plain", _normalised(plain_text(content))), Part("html", _normalised(content))]
    except UnicodeEncodeError as error:
        raise MessageError(f"the content holds half a character, U+{ord(content[error.start]):04X}") from error


def size_bound(parts: list[Part]) -> int:
    """The most octets that `entity` makes of these parts, whatever the server takes."""
    return sum(HEADERS + (len(text) if _is_seven_bit(text) else _base64_length(text)) for _, text in parts)


def entity(parts: list[Part], token: str, *, eight_bit: bool) -> bytes:
    """The header fields about the content, a blank line, and the content."""
    encoded = [(part, *_encode(part.text, eight_bit=eight_bit)) for part in parts]
    entities = [
        b"Content-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n%b"
        % (part.subtype.encode("ascii"), encoding, octets)
        for part, encoding, octets in encoded
    ]
    if len(entities) == 1:
        return entities[0]
    widest = b"8bit" if any(encoding == b"8bit" for _, encoding, _ in encoded) else b"7bit"
    return _alternatives(entities, _boundary(token, entities), widest)


def _alternatives(entities: list[bytes], boundary: bytes, encoding: bytes) -> bytes:
    delimiter = b"\r\n--" + boundary  # the line break before a boundary belongs to the boundary
    return b"".join(
        [
            b'Content-Type: multipart/alternative; boundary="%b"\r\n' % boundary,
            b"Content-Transfer-Encoding: %b\r\n" % encoding,
            *(delimiter + b"\r\n" + each for each in entities),
            delimiter + b"--\r\n",
        ]
    )


def _boundary(token: str, entities: list[bytes]) -> bytes:
    """Made of the token, and in none of the parts, whatever they hold."""
    candidates = (b"=_%b_%d" % (token[:50].encode("ascii"), number) for number in count())
    return next(each for each in candidates if not any(b"--" + each in entity for entity in entities))


def _encode(text: bytes, *, eight_bit: bool) -> tuple[bytes, bytes]:
    """The name of the lightest encoding that carries the text, and the text in it."""
    if _is_seven_bit(text):
        return b"7bit", text
    if eight_bit and _has_short_lines(text):
        return b"8bit", text
    if 6 * len(text.translate(None, _PRINTABLE)) <= len(text):  # else base64 is shorter for certain
        quoted = b2a_qp(text, istext=True)
        if len(quoted) <= _base64_length(text):
            return b"quoted-printable", quoted
    return b"base64", _base64(text)


def _base64(text: bytes) -> bytes:
    line = b2a_base64(text, newline=False)
    return b"".join(line[start : start + 76] + b"\r\n" for start in range(0, len(line), 76))


def _base64_length(text: bytes) -> int:
    length = (len(text) + 2) // 3 * 4
    return length + (length + 75) // 76 * 2


def _is_seven_bit(text: bytes) -> bool:
    return text.isascii() and _has_short_lines(text)


def _has_short_lines(text: bytes) -> bool:
    return all(len(line) <= LONGEST_LINE + 2 for line in BytesIO(text))


def _normalised(text: str) -> bytes:
    """UTF-8 whose line ends are CRLF, whatever they were, also the last one."""
    octets = text.encode("utf-8").replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return octets if not octets or octets.endswith(b"\r\n") else octets + b"\r\n"
