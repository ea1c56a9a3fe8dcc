"""Detect lost commits in SQLite's write-ahead log, which SQLite itself does not report.

SQLite reads the log up to the first frame whose checksum is wrong, and takes all that follows for a write that a power
cut interrupted; its integrity check says "ok". But only one write can have been interrupted, since the next begins
after the sync of the one before: two commits after a wrong frame were on the disk once. (A log whose first 32 bytes are
wrong cannot be told from a new one.) The format: https://sqlite.org/fileformat2.html, section 4.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24  # bytes
BYTE_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}  # the magic number -> the order of the bytes that are added up


class _Frame(NamedTuple):
    is_commit: bool
    salts: bytes
    checksum: tuple[int, int]
    content: bytes  # what it is the checksum of, together with all before


def lost_commits(log: Path) -> int:
    """Return how many commits at the end of this log SQLite will never read. Nobody may write to it meanwhile."""
    if not log.exists():
        return 0
    with log.open("rb") as file:
        header = file.read(HEADER_BYTES)
        order = BYTE_ORDERS.get(int.from_bytes(header[:4], "big"))
        if len(header) < HEADER_BYTES or order is None:
            return 0
        checksum = _added((0, 0), header[:24], order)
        if checksum != struct.unpack(">II", header[24:]):
            return 0
        salts, frames = header[16:24], _frames(file, int.from_bytes(header[8:12], "big"))
        for frame in frames:
            checksum = _added(checksum, frame.content, order)
            if frame.salts != salts or frame.checksum != checksum:
                behind = sum(each.is_commit and each.salts == salts for each in chain([frame], frames))
                return behind if behind > 1 else 0
    return 0


def _frames(file: BinaryIO, page_size: int) -> Iterator[_Frame]:
    size = FRAME_HEADER_BYTES + page_size
    while len(octets := file.read(size)) == size:
        _, pages_after_commit, salts, one, two = struct.unpack(">II8sII", octets[:FRAME_HEADER_BYTES])
        yield _Frame(pages_after_commit > 0, salts, (one, two), octets[:8] + octets[FRAME_HEADER_BYTES:])


def _added(checksum: tuple[int, int], octets: bytes, order: str) -> tuple[int, int]:
    one, two = checksum
    words = iter(struct.unpack(f"{order}{len(octets) // 4}I", octets))
    for first, second in zip(words, words, strict=True):
        one = one + first + two & 0xFFFFFFFF
        two = two + second + one & 0xFFFFFFFF
    return one, two
