"""Turn content into a MIME entity (RFC 2045, 2046): choose the parts and the encoding of each.

Dots are stuffed in `message.py`.
"""

from __future__ import annotations

import re
from binascii import b2a_base64, b2a_qp
from io import BytesIO
from itertools import count
from typing import NamedTuple

from delivery.errors import MessageError
from delivery.lazy_pattern import LazyPattern
from delivery.message.footer import html_with_link, with_link
from delivery.message.plain_text import plain_text

TOKEN_LENGTH = 32  # of a recipient's token: ASCII characters that no encoding changes, without dots
MAX_LINE_LENGTH = 998  # octets, without CRLF (RFC 5322, 2.1.1)
MAX_PART_HEADER_BYTES = 400  # an upper bound for everything that a part adds to the entity besides its text

_PRINTABLE = bytes({*range(0x20, 0x7F), *b"\t\r\n"} - {*b"="})  # what quoted-printable leaves alone
_ENTITY = b"Content-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n"
_ANY_TOKEN = b"x" * TOKEN_LENGTH
_SURROGATE = LazyPattern("[\ud800-\udfff]")
_TAG = LazyPattern(
    r"</(?:a|b|body|center|div|em|font|h[1-6]|i|li|ol|p|span|strong|style|table|td|tr|u|ul)>|<(?:br|hr|p) ?/?>",
    re.IGNORECASE,
)
_HTML = re.compile("<!DOCTYPE html|<html", re.IGNORECASE)


class Part(NamedTuple):
    """One text, as UTF-8 with CRLF line ends. It has two pieces if a recipient's token goes between them."""

    subtype: str
    pieces: list[bytes]

    @property
    def with_any_token(self) -> bytes:
        """The text with a dummy token, for measuring and choosing an encoding."""
        return _ANY_TOKEN.join(self.pieces)


class Placeholder(NamedTuple):
    """The place of a token. In base64, it includes the adjacent octets that share the token's groups of three."""

    before: bytes = b""
    after: bytes = b""
    is_base64: bool = False


Segments = list[bytes | Placeholder]


class Entity(NamedTuple):
    """Pieces with a placeholder between each two. In a whole message, there is also one before the first piece.

    If every placeholder of a whole message takes the token unencoded, `placeholders` is empty: that is faster to fill.
    """

    pieces: list[bytes]
    placeholders: list[Placeholder]


def is_html(content: str) -> bool:
    """Return whether content is sent as HTML with a plain-text alternative, rather than as plain text alone."""
    return _HTML.search(content) is not None


def looks_like_html(content: str) -> bool:
    """Return whether content that is sent as plain text contains tags, which recipients would see."""
    return not is_html(content) and _TAG.search(content) is not None


def parts_of(content: str, link: str | None = None) -> list[Part]:
    """Return the parts of a message; HTML gets a plain-text part before it. Raises MessageError for invalid text.

    With `link`, each part ends with a link: `link` followed by a recipient's token.
    """
    check_characters(content)
    if not is_html(content):
        return [_plain_part(content, link)]
    return [_plain_part(html_to_text(content), link), _html_part(content, link)]


def html_to_text(html: str) -> str:
    """Return HTML as plain text. Raises MessageError."""
    try:
        return plain_text(html)
    except (ValueError, LookupError, ArithmeticError, RecursionError) as error:  # one email must not stop the others
        raise MessageError(f"the content cannot be turned into plain text ({type(error).__name__})") from error


def check_content(content: str) -> None:
    """Raise MessageError if `parts_of` would. Plain text need not be rendered, since only its characters can fail."""
    if is_html(content):
        parts_of(content)
    else:
        check_characters(content)


def check_characters(content: str) -> None:
    """Raise MessageError for a character that a message cannot contain."""
    if "\0" in content:
        raise MessageError("the content contains U+0000")
    if not content.isascii() and (half := _SURROGATE.search(content)):
        raise MessageError(f"the content contains an unpaired surrogate, U+{ord(half.group()):04X}")


def _plain_part(text: str, link: str | None) -> Part:
    if link is not None:
        text = with_link(text, link)
    return Part("plain", normalized(text).split(b"\0"))


def _html_part(html: str, link: str | None) -> Part:
    if link is not None:
        html = html_with_link(html, link)
    return Part("html", normalized(html).split(b"\0"))


def size_bound(parts: list[Part]) -> int:
    """Return an upper bound in octets for the entity of these parts, whatever the server supports."""
    texts = [part.with_any_token for part in parts]
    return sum(
        MAX_PART_HEADER_BYTES + (len(text) if _is_seven_bit(text) else base64_length(len(text))) for text in texts
    )


def entity(parts: list[Part], token: str, *, eight_bit: bool) -> Entity:
    """Return the Content- header fields, a blank line and the content. `token` makes the boundary unique."""
    encoded = [(part.subtype, *_encode(part, eight_bit=eight_bit)) for part in parts]
    entities: list[Segments] = [[_ENTITY % (subtype.encode("ascii"), name), *text] for subtype, name, text in encoded]
    if len(entities) == 1:
        return _in_pieces(entities[0])
    widest = b"8bit" if any(name == b"8bit" for _, name, _ in encoded) else b"7bit"
    return _in_pieces(_alternatives(entities, _boundary(token, entities), widest))


def fill(first: bytes, rest: Entity, token: bytes) -> bytes:
    """Fill every placeholder of `rest` with `token`, and return the result after `first`.

    `rest` begins with a placeholder.
    """
    pieces, placeholders = rest
    if not placeholders:
        return token.join((first, *pieces))
    octets = [first]
    for piece, (before, after, is_base64) in zip(pieces, placeholders, strict=True):
        octets += (b2a_base64(before + token + after, newline=False) if is_base64 else token, piece)
    return b"".join(octets)


def _alternatives(entities: list[Segments], boundary: bytes, encoding: bytes) -> Segments:
    delimiter = b"\r\n--" + boundary  # the line break before a boundary belongs to the boundary
    fields = b'Content-Type: multipart/alternative; boundary="%b"\r\nContent-Transfer-Encoding: %b\r\n' % (
        boundary,
        encoding,
    )
    inner = [segment for each in entities for segment in (delimiter + b"\r\n", *each)]
    return [fields, *inner, delimiter + b"--\r\n"]


def _boundary(token: str, entities: list[Segments]) -> bytes:
    """Return a boundary that contains the token and occurs in no part. No recipient's token contains its `=`."""
    candidates = (b"=_%b_%d" % (token[:50].encode("ascii"), number) for number in count())
    texts = [segment for entity in entities for segment in entity if isinstance(segment, bytes)]
    return next(each for each in candidates if not any(b"--" + each in text for text in texts))


def _in_pieces(segments: Segments) -> Entity:
    pieces: list[list[bytes]] = [[]]
    placeholders: list[Placeholder] = []
    for segment in segments:
        if isinstance(segment, Placeholder):
            placeholders.append(segment)
            pieces.append([])
        else:
            pieces[-1].append(segment)
    return Entity([b"".join(piece) for piece in pieces], placeholders)


def _encode(part: Part, *, eight_bit: bool) -> tuple[bytes, Segments]:
    """Return the name of the most compact encoding that can carry the text, and the encoded text."""
    text = part.with_any_token
    if _is_seven_bit(text):
        return b"7bit", _unencoded(part.pieces)
    if eight_bit and _has_short_lines(text):
        return b"8bit", _unencoded(part.pieces)
    if is_mostly_printable(text):
        quoted = _quoted(part.pieces)
        if sum(len(each) for each in quoted if isinstance(each, bytes)) <= base64_length(len(text)):
            return b"quoted-printable", quoted
    return b"base64", _in_base64(part.pieces)


def _unencoded(pieces: list[bytes]) -> Segments:
    return [pieces[0], *(each for piece in pieces[1:] for each in (Placeholder(), piece))]


def _quoted(pieces: list[bytes]) -> Segments:
    """Encode as quoted-printable. A token gets its own line, between soft line breaks."""
    first, *rest = [b2a_qp(piece, istext=True) for piece in pieces]
    return [first, *(each for piece in rest for each in (b"=\r\n", Placeholder(), b"=\r\n" + piece))]


def _in_base64(pieces: list[bytes]) -> Segments:
    """Encode as base64. A token gets its own line, with the octets that share its groups of three."""
    if len(pieces) == 1:
        return [base64_lines(pieces[0])]
    first, last = pieces
    shared = len(first) % 3
    missing = -(shared + TOKEN_LENGTH) % 3
    placeholder = Placeholder(first[len(first) - shared :], last[:missing], is_base64=True)
    return [base64_lines(first[: len(first) - shared]), placeholder, b"\r\n" + base64_lines(last[missing:])]


def base64_lines(text: bytes) -> bytes:
    """Encode as base64, in lines of 76 characters."""
    line = b2a_base64(text, newline=False)
    return b"".join(line[start : start + 76] + b"\r\n" for start in range(0, len(line), 76))


def base64_length(octets: int) -> int:
    """Return how long a text of this length is in base64, with its line ends."""
    length = (octets + 2) // 3 * 4
    return length + (length + 75) // 76 * 2


def is_mostly_printable(text: bytes) -> bool:
    """Return whether quoted-printable may be shorter than base64. Otherwise base64 is always shorter."""
    return 6 * len(text.translate(None, _PRINTABLE)) <= len(text)


def _is_seven_bit(text: bytes) -> bool:
    return text.isascii() and _has_short_lines(text)


def _has_short_lines(text: bytes) -> bool:
    return all(len(line) <= MAX_LINE_LENGTH + 2 for line in BytesIO(text))


def normalized(text: str) -> bytes:
    """Encode as UTF-8, with all line ends changed to CRLF and one at the end."""
    octets = text.encode("utf-8").replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    return octets if not octets or octets.endswith(b"\r\n") else octets + b"\r\n"
