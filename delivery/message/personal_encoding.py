"""Encode a MIME entity with values of any length in it: rendered once, joined for each recipient.

Theory of operation
-------------------
A part is a list of pieces with a slot between each two, where a recipient's value goes. The slots of all parts share
one list of values per recipient. There are three forms of an entity:

    7bit      the text is ASCII, and so are the values of this recipient
    8bit      any characters, if the server supports 8BITMIME
    encoded   each part as quoted-printable or base64, whichever is shorter

The first two take values as they are, if each line stays within 998 octets. `room` is the length of a value for which
that is certain: the room that the longest line leaves, divided by the number of its slots. A recipient with a longer
value gets the encoded form. So does one with a value that could complete a MIME boundary.

Quoted-printable. The pieces are encoded beforehand. A value is encoded on its own, between soft line breaks.

Base64. An octet's encoding depends on its position modulo 3, which depends on the lengths of the values before it. So
each piece is encoded beforehand for each number of octets (0, 1 or 2) that it lends to the value before it, to complete
the group of three octets there. What remains at its end (at most two octets) is encoded with the value after it.
"""

from __future__ import annotations

from binascii import b2a_base64, b2a_qp
from collections.abc import Sequence
from io import BytesIO
from itertools import count
from typing import NamedTuple

from delivery.message.mime import MAX_LINE_LENGTH, base64_length, base64_lines, is_mostly_printable

BASE64_LINE_BYTES = 57  # of text, in a line of 76 characters

_FIELDS = b"Content-Type: text/%b; charset=utf-8\r\nContent-Transfer-Encoding: %b\r\n\r\n"
_MULTIPART = b'Content-Type: multipart/alternative; boundary="%b"\r\nContent-Transfer-Encoding: %b\r\n'
_BOUNDARY_START = b"=_"
_SOFT_BREAK = b"=\r\n"


class PersonalPart(NamedTuple):
    """A text as UTF-8 with CRLF line ends, in pieces, and the index of the value that goes between each two."""

    subtype: bytes
    pieces: list[bytes]
    slots: list[int]
    fixed: dict[int, int]  # the lengths of values whose length is the same for all recipients, by index

    def filled(self, values: Sequence[bytes]) -> bytes:
        """Return the text with the values of a recipient."""
        octets = [self.pieces[0]]
        for slot, piece in zip(self.slots, self.pieces[1:], strict=True):
            octets += (values[slot], piece)
        return b"".join(octets)

    def lines(self) -> list[tuple[int, int]]:
        """Return for each line its number of octets without slots of free length, and the number of these slots."""
        marked: list[tuple[int, int]] = []
        octets = slots = 0
        for index, piece in enumerate(self.pieces):
            for line in BytesIO(piece):
                octets += len(line)
                if line.endswith(b"\n"):
                    marked.append((octets - 2, slots))
                    octets = slots = 0
            if index < len(self.slots):
                octets += self.fixed.get(self.slots[index], 0)
                slots += self.slots[index] not in self.fixed
        return [*marked, (octets, slots)]


class PersonalEntity:
    """The Content- header fields, a blank line and the content, for recipients with different values."""

    def __init__(self, before: bytes, parts: Sequence[PersonalPart], token: str) -> None:
        """`before` goes before everything else. `token` makes the boundary unique."""
        # `room` is the length of a value for which no line is too long, if `_has_short_lines`.
        self._before = before
        self._parts = parts
        self._boundary = _boundary(token, parts)
        lines = [line for part in parts for line in part.lines()]
        self._has_short_lines = all(octets <= MAX_LINE_LENGTH for octets, _ in lines)
        self.room = min(
            ((MAX_LINE_LENGTH - octets) // slots for octets, slots in lines if slots), default=MAX_LINE_LENGTH
        )
        self._is_ascii = all(piece.isascii() for part in parts for piece in part.pieces)
        self._seven_bit: Form | None = None
        self._eight_bit: Form | None = None
        self._encoded: Form | None = None

    def form_for(self, values: Sequence[bytes], *, eight_bit: bool) -> Form:
        """Return the form for the values of a recipient."""
        if self._has_short_lines:
            together = b"".join(values)
            fits = len(together) <= self.room or max(map(len, values)) <= self.room
            if fits and _BOUNDARY_START not in together:
                if self._is_ascii and together.isascii():
                    return self._seven_bit or self._rendered("7bit")
                if eight_bit:
                    return self._eight_bit or self._rendered("8bit")
        return self._encoded or self._rendered("encoded")

    def _rendered(self, kind: str) -> Form:
        """Render a form that no recipient has needed so far."""
        if kind == "7bit":
            self._seven_bit = form = self._form(b"7bit")
        elif kind == "8bit":
            self._eight_bit = form = self._form(b"8bit")
        else:
            self._encoded = form = self._form(None)
        return form

    def _form(self, encoding: bytes | None) -> Form:
        """Return the entity in an encoding of 7bit or 8bit, or with each part encoded (None)."""
        encoded = [_unencoded(part, encoding) if encoding else _encoded(part) for part in self._parts]
        if len(encoded) == 1:
            return Form([self._before, *encoded[0]], is_encoded=encoding is None)
        delimiter = b"\r\n--" + self._boundary  # the line break before a boundary belongs to the boundary
        inner = [segment for each in encoded for segment in (delimiter + b"\r\n", *each)]
        fields = _MULTIPART % (self._boundary, encoding or b"7bit")
        return Form([self._before, fields, *inner, delimiter + b"--\r\n"], is_encoded=encoding is None)


class _Slot(NamedTuple):
    """The place where a value goes, either as it is or encoded as quoted-printable."""

    value: int
    is_quoted: bool


class _Base64:
    """A whole text in base64."""

    def __init__(self, part: PersonalPart) -> None:
        first, *rest = part.pieces
        self._first = _in_groups(first)
        self._slots = part.slots
        # For each piece after a slot: the piece, and for each number of octets that it lends, its lines and its tail.
        self._rest = [(piece, [_in_groups(piece[lent:]) for lent in range(3)]) for piece in rest]

    def filled(self, values: Sequence[bytes]) -> list[bytes]:
        lines, tail = self._first
        octets = [lines]
        for index, (piece, by_lent) in zip(self._slots, self._rest, strict=True):
            group = tail + values[index]
            lent = -len(group) % 3
            if lent > len(piece):  # too short: it is encoded with the next value
                tail = group + piece
                continue
            octets.append(_base64(group + piece[:lent]))
            lines, tail = by_lent[lent]
            octets.append(lines)
        octets.append(_base64(tail))
        return octets


_Segment = bytes | _Slot | _Base64


class Form:
    """An entity in one encoding, with everything encoded that is the same for all recipients."""

    def __init__(self, segments: Sequence[_Segment], *, is_encoded: bool) -> None:
        self.is_encoded = is_encoded  # otherwise, values may change which dots begin a line
        self._pieces: list[bytes] = []
        self._slots: list[tuple[int, int]] = []  # where in _pieces, and which value
        self._quoted: list[tuple[int, int]] = []  # the same, for values as quoted-printable
        self._in_base64: list[tuple[int, _Base64]] = []
        for place, segment in enumerate(segments):
            self._pieces.append(segment if isinstance(segment, bytes) else b"")
            if isinstance(segment, _Base64):
                self._in_base64.append((place, segment))
            elif isinstance(segment, _Slot):
                (self._quoted if segment.is_quoted else self._slots).append((place, segment.value))
        self._stuffed_pieces = [piece.replace(b"\r\n.", b"\r\n..") for piece in self._pieces]

    def filled(self, values: Sequence[bytes]) -> list[bytes]:
        """Return the entity in pieces."""
        pieces = self._pieces.copy()
        self._fill(pieces, values)
        for place, index in self._quoted:
            pieces[place] = _quoted(values[index])
        return pieces

    def stuffed(self, values: Sequence[bytes]) -> list[bytes]:
        """Return the entity in pieces, with dots stuffed. In quoted-printable, each value begins a line."""
        pieces = self._stuffed_pieces.copy()
        self._fill(pieces, values)
        for place, index in self._quoted:
            quoted = _quoted(values[index])
            pieces[place] = (b"\r\n" + quoted).replace(b"\r\n.", b"\r\n..")[2:] if b"." in quoted else quoted
        return pieces

    def stuffed_segments(self) -> list[bytes | int]:
        """Return an entity that is not encoded, with dots stuffed, and with the indices of values between its pieces.

        This is right only for values that are not empty and do not begin with a dot.
        """
        segments: list[bytes | int] = [*self._stuffed_pieces]
        for place, index in self._slots:
            segments[place] = index
        return segments

    def _fill(self, pieces: list[bytes], values: Sequence[bytes]) -> None:
        for place, index in self._slots:
            pieces[place] = values[index]
        for place, text in self._in_base64:
            pieces[place] = b"".join(text.filled(values))


def _unencoded(part: PersonalPart, encoding: bytes) -> list[_Segment]:
    first, *rest = part.pieces
    segments: list[_Segment] = [_FIELDS % (part.subtype, encoding) + first]
    for value, piece in zip(part.slots, rest, strict=True):
        segments += (_Slot(value, is_quoted=False), piece)
    return segments


def _encoded(part: PersonalPart) -> list[_Segment]:
    text = b"".join(part.pieces)
    if is_mostly_printable(text):
        first, *rest = map(_quoted, part.pieces)
        if sum(map(len, rest), len(first)) <= base64_length(len(text)):
            segments: list[_Segment] = [_FIELDS % (part.subtype, b"quoted-printable") + first]
            for value, piece in zip(part.slots, rest, strict=True):
                segments += (_SOFT_BREAK, _Slot(value, is_quoted=value not in part.fixed), _SOFT_BREAK + piece)
            return segments
    return [_FIELDS % (part.subtype, b"base64"), _Base64(part)]


def _quoted(text: bytes) -> bytes:
    """Encode as quoted-printable. Without a line end in the text, b2a_qp would make soft line breaks of LF alone."""
    return b2a_qp(text + b"\r\n", istext=True)[:-2]


def _in_groups(text: bytes) -> tuple[bytes, bytes]:
    """Return the whole groups of three octets as lines of base64, and the octets after them."""
    end = len(text) - len(text) % 3
    return base64_lines(text[:end]), text[end:]


def _base64(text: bytes) -> bytes:
    if len(text) <= BASE64_LINE_BYTES:
        return b2a_base64(text, newline=False) + b"\r\n" if text else b""
    return base64_lines(text)


def _boundary(token: str, parts: Sequence[PersonalPart]) -> bytes:
    """Return a boundary that contains the token and occurs in no part. Values with a `=_` are always encoded."""
    candidates = (b"%b%b_%d" % (_BOUNDARY_START, token[:50].encode("ascii"), number) for number in count())
    return next(each for each in candidates if not any(each in piece for part in parts for piece in part.pieces))
