"""The postings of a chunk: for each trigram, which of its recipients have it.

They are stored by bigram, so that one row has all trigrams that begin with the same two characters, and so that words
of one or two characters are found too. A row is a sequence of entries, one for each third character:

    code point    4 bytes
    count         2 bytes: the number of recipients
    recipients    their offsets in the chunk, 2 bytes each, in order; or, if there are more than MAX_OFFSETS, a bitmap

All numbers are little-endian. As in a roaring bitmap, no entry takes more than a bitmap.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from operator import and_, or_

CHUNK_BITS = 13
CHUNK_SIZE = 1 << CHUNK_BITS  # recipient_ids
BITMAP_SIZE = CHUNK_SIZE // 8  # bytes
MAX_OFFSETS = BITMAP_SIZE // 2  # a longer sequence of offsets takes more bytes than a bitmap
CHARACTER_BITS = 21
_HEADER = struct.Struct("<IH")

Offsets = set[int] | int  # a set of offsets, or a bitmap


class Collector:
    """Collects the postings of one chunk."""

    def __init__(self) -> None:
        self._offsets: dict[str, list[int]] = defaultdict(list)

    def add(self, offset: int, text: str) -> None:
        """Add the next recipient of the chunk, in the order of offsets."""
        offsets = self._offsets
        for gram in {text[place : place + 3] for place in range(len(text) - 2)}:
            offsets[gram].append(offset)

    def rows(self) -> list[tuple[int, bytes]]:
        """Return each bigram with its row, in order."""
        rows: dict[int, list[bytes]] = defaultdict(list)
        for gram, offsets in sorted(self._offsets.items()):
            rows[bigram(gram)] += (_HEADER.pack(ord(gram[2]), len(offsets)), _packed(offsets))
        return [(key, b"".join(parts)) for key, parts in sorted(rows.items())]


def bigram(text: str) -> int:
    """Return the first two characters of a text as one integer."""
    return ord(text[0]) << CHARACTER_BITS | ord(text[1])


def bigrams_from(character: str) -> tuple[int, int]:
    """Return the range of the bigrams that begin with a character, without its end."""
    return ord(character) << CHARACTER_BITS, (ord(character) + 1) << CHARACTER_BITS


def entries(row: bytes) -> Iterator[tuple[int, Offsets]]:
    """Yield the third characters of a row, as code points, with their recipients."""
    place = 0
    while place < len(row):
        character, count = _HEADER.unpack_from(row, place)
        place += _HEADER.size
        size = 2 * count if count <= MAX_OFFSETS else BITMAP_SIZE
        yield character, _unpacked(row[place : place + size], count)
        place += size


def entry(row: bytes, character: str) -> Offsets:
    """Return the recipients of one third character."""
    wanted, place = ord(character), 0
    while place < len(row):
        found, count = _HEADER.unpack_from(row, place)
        place += _HEADER.size
        size = 2 * count if count <= MAX_OFFSETS else BITMAP_SIZE
        if found == wanted:
            return _unpacked(row[place : place + size], count)
        place += size
    return set()


def union(parts: Iterable[Offsets]) -> Offsets:
    """Return the offsets that are in any of these."""
    sparse: set[int] = set()
    dense = 0
    for part in parts:
        if isinstance(part, int):
            dense |= part
        else:
            sparse |= part
    return sparse if not dense else reduce(or_, (1 << offset for offset in sparse), dense)


def intersection(parts: Iterable[Offsets]) -> Offsets:
    """Return the offsets that are in all of these, of which there is at least one."""
    each = list(parts)
    sparse = sorted((part for part in each if isinstance(part, set)), key=len)
    dense = [part for part in each if isinstance(part, int)]
    if not sparse:
        return reduce(and_, dense)
    found = sparse[0].intersection(*sparse[1:])
    return {offset for offset in found if all(bitmap >> offset & 1 for bitmap in dense)} if dense else found


def size(offsets: Offsets) -> int:
    """Return the number of offsets."""
    return offsets.bit_count() if isinstance(offsets, int) else len(offsets)


def in_order(offsets: Offsets) -> list[int]:
    """Return these offsets as a list."""
    if isinstance(offsets, set):
        return sorted(offsets)
    return [place for place, bit in enumerate(reversed(f"{offsets:b}")) if bit == "1"]


def _packed(offsets: list[int]) -> bytes:
    if len(offsets) <= MAX_OFFSETS:
        return struct.pack(f"<{len(offsets)}H", *offsets)
    bitmap = bytearray(BITMAP_SIZE)
    for offset in offsets:
        bitmap[offset >> 3] |= 1 << (offset & 7)
    return bytes(bitmap)


def _unpacked(packed: bytes, count: int) -> Offsets:
    if count > MAX_OFFSETS:
        return int.from_bytes(packed, "little")
    return set(struct.unpack(f"<{count}H", packed))


Rows = Mapping[int, bytes]  # the rows of a chunk by bigram
