"""Detect lost commits in SQLite's write-ahead log, which SQLite itself does not report.

SQLite reads the log up to the first frame with a wrong checksum. It assumes that everything after that is a write that
a power cut interrupted, and its integrity check says "ok". But only one write can have been interrupted, because the
next one begins after the previous one is synced. So if two or more commits follow a wrong frame, they were on the disk
and the disk lost data. (A log whose first 32 bytes are wrong looks the same as a new one.) The format is described in
section 4 of https://sqlite.org/fileformat2.html.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, NamedTuple

HEADER_BYTES, FRAME_HEADER_BYTES = 32, 24
BYTE_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}  # magic number -> byte order of the words in a checksum


class _Frame(NamedTuple):
    is_commit: bool
    salts: bytes
    checksum: tuple[int, int]
    content: bytes  # the bytes that its checksum covers, in addition to all earlier frames


def lost_commits(log: Path) -> int:
    """Return the number of commits at the end of this log that SQLite will never read. Nobody may write meanwhile."""
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
