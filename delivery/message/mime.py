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
from delivery.message.footer import html_with_link, with_link
from delivery.message.plain_text import plain_text

LENGTH = 32  # of a recipient's token: ASCII characters that no encoding changes, none of which is a dot
LONGEST_LINE = 998  # octets, without CRLF (RFC 5322, 2.1.1)
HEADERS = 400  # an upper bound of what an entity has beside its parts' text, per part

_PRINTABLE = bytes({*range(0x20, 0x7F), *b"\t\r\n"} - {*b"="})  # what quoted-printable leaves alone
_ENTITY = b"Content-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n"
_ANY_TOKEN = b"x" * LENGTH
_HTML = re.compile("<!DOCTYPE html|<html", re.IGNORECASE)


class Part(NamedTuple):
    """One text, as UTF-8 with CRLF line ends; in two pieces when a recipient's token stands between them."""

    subtype: str
    pieces: list[bytes]

    @property
    def filled(self) -> bytes:
        """The text with some token in it."""
        return _ANY_TOKEN.join(self.pieces)


class Hole(NamedTuple):
    """Where a token stands; in base64 with the octets beside it that share its groups of three."""

    before: bytes = b""
    behind: bytes = b""
    is_base64: bool = False


Octets = list[bytes | Hole]


class Entity(NamedTuple):
    """Octets in pieces, with a hole between each two; in a whole message also before the first.

    There the holes are not named when each takes a token as it is, which is quicker to fill.
    """

    pieces: list[bytes]
    holes: list[Hole]


def is_html(content: str) -> bool:
    """Whether it goes as HTML, with a plain text before it, or as plain text alone."""
    return _HTML.search(content) is not None


def parts_of(content: str, link: str | None = None) -> list[Part]:
    """HTML gets a plain text before it, for those who see no HTML. Raises MessageError for what is no text.

    With `link`, each ends with a link that is `link` and a recipient's token.
    """
    if "\0" in content:
        raise MessageError("the content holds U+0000")
    try:
        if not is_html(content):
            return [_plain_part(content, link)]
        return [_plain_part(plain_text(content), link), _html_part(content, link)]
    except UnicodeEncodeError as error:
        raise MessageError(f"the content holds half a character, U+{ord(content[error.start]):04X}") from error


def _plain_part(text: str, link: str | None) -> Part:
    if link is not None:
        text = with_link(text, link)
    return Part("plain", _normalised(text).split(b"\0"))


def _html_part(html: str, link: str | None) -> Part:
    if link is not None:
        html = html_with_link(html, link)
    return Part("html", _normalised(html).split(b"\0"))


def size_bound(parts: list[Part]) -> int:
    """The most octets that `entity` makes of these parts, whatever the server takes."""
    texts = [part.filled for part in parts]
    return sum(HEADERS + (len(text) if _is_seven_bit(text) else _base64_length(text)) for text in texts)


def entity(parts: list[Part], token: str, *, eight_bit: bool) -> Entity:
    """The header fields about the content, a blank line, and the content. Boundaries are made of `token`."""
    encoded = [(part.subtype, *_encode(part, eight_bit=eight_bit)) for part in parts]
    entities: list[Octets] = [[_ENTITY % (subtype.encode("ascii"), name), *octets] for subtype, name, octets in encoded]
    if len(entities) == 1:
        return _in_pieces(entities[0])
    widest = b"8bit" if any(name == b"8bit" for _, name, _ in encoded) else b"7bit"
    return _in_pieces(_alternatives(entities, _boundary(token, entities), widest))


def fill(first: bytes, rest: Entity, token: bytes) -> bytes:
    """`first`, and `rest`, which begins with a hole, with a token in each hole: once for each recipient."""
    pieces, holes = rest
    if not holes:
        return token.join((first, *pieces))
    octets = [first]
    for piece, (before, behind, is_base64) in zip(pieces, holes, strict=True):
        octets += (b2a_base64(before + token + behind, newline=False) if is_base64 else token, piece)
    return b"".join(octets)


def _alternatives(entities: list[Octets], boundary: bytes, encoding: bytes) -> Octets:
    delimiter = b"\r\n--" + boundary  # the line break before a boundary belongs to the boundary
    fields = b'Content-Type: multipart/alternative; boundary="%b"\r\nContent-Transfer-Encoding: %b\r\n' % (
        boundary,
        encoding,
    )
    inner = [octets for each in entities for octets in (delimiter + b"\r\n", *each)]
    return [fields, *inner, delimiter + b"--\r\n"]


def _boundary(token: str, entities: list[Octets]) -> bytes:
    """Made of the token, and in none of the parts, whatever they hold; what fills a hole holds no `=`."""
    candidates = (b"=_%b_%d" % (token[:50].encode("ascii"), number) for number in count())
    texts = [octets for entity in entities for octets in entity if isinstance(octets, bytes)]
    return next(each for each in candidates if not any(b"--" + each in text for text in texts))


def _in_pieces(octets: Octets) -> Entity:
    pieces: list[list[bytes]] = [[]]
    holes: list[Hole] = []
    for each in octets:
        if isinstance(each, Hole):
            holes.append(each)
            pieces.append([])
        else:
            pieces[-1].append(each)
    return Entity([b"".join(piece) for piece in pieces], holes)


def _encode(part: Part, *, eight_bit: bool) -> tuple[bytes, Octets]:
    """The name of the lightest encoding that carries the text, and the text in it."""
    text = part.filled
    if _is_seven_bit(text):
        return b"7bit", _as_it_is(part.pieces)
    if eight_bit and _has_short_lines(text):
        return b"8bit", _as_it_is(part.pieces)
    if 6 * len(text.translate(None, _PRINTABLE)) <= len(text):  # else base64 is shorter for certain
        quoted = _quoted(part.pieces)
        if sum(len(each) for each in quoted if isinstance(each, bytes)) <= _base64_length(text):
            return b"quoted-printable", quoted
    return b"base64", _in_base64(part.pieces)


def _as_it_is(pieces: list[bytes]) -> Octets:
    return [pieces[0], *(each for piece in pieces[1:] for each in (Hole(), piece))]


def _quoted(pieces: list[bytes]) -> Octets:
    """A token stands on a line of its own, between soft line breaks."""
    first, *rest = [b2a_qp(piece, istext=True) for piece in pieces]
    return [first, *(each for piece in rest for each in (b"=\r\n", Hole(), b"=\r\n" + piece))]


def _in_base64(pieces: list[bytes]) -> Octets:
    """A token stands on a line of its own, with what belongs to the same groups of three octets."""
    if len(pieces) == 1:
        return [_base64(pieces[0])]
    first, last = pieces
    shared = len(first) % 3
    missing = -(shared + LENGTH) % 3
    hole = Hole(first[len(first) - shared :], last[:missing], is_base64=True)
    return [_base64(first[: len(first) - shared]), hole, b"\r\n" + _base64(last[missing:])]


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
