"""A Maildir, read: the names of its newest messages, and any one message.

Only names are listed, since they begin with the email's second: to ask when each file was made would take a minute for
a million of them. Names that other programs have made count as the oldest.
"""

from __future__ import annotations

import heapq
import os
import re
import stat
import time
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

MOST = 10_000  # names that a listing has
NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._=+,:-]{0,250}")  # no way into another folder; with the marks of readers
TIMED = re.compile(r"[0-9]{10}\.")
FOLDERS = ("new", "cur")


class Listing(NamedTuple):
    """The newest names, in the order of time, as they were at a moment; and how many there were in all."""

    names: list[str]
    total: int
    seen_at: float
    seconds: float  # that the look took

    def before(self, name: str | None, count: int) -> list[str]:
        """So many names before that one, newest first; the newest of all where none is given."""
        end = len(self.names) if name is None else bisect_left(self.names, key(name), key=key)
        return self.names[max(end - count, 0) : end][::-1]


class Names:
    """Counts what it hands out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.total = 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for folder in FOLDERS:
            try:
                with os.scandir(self._path / folder) as files:
                    for file in files:
                        if NAME.fullmatch(file.name):
                            self.total += 1
                            yield key(file.name)
            except FileNotFoundError:
                continue  # nothing was delivered yet


def key(name: str) -> tuple[str, str]:
    """What names are ordered by: their time, if they tell it, and then themselves."""
    return name[:10] if TIMED.match(name) else "", name


def newest(path: Path, most: int = MOST) -> Listing:
    """Look at every name in the Maildir at `path`, and keep the newest. Raises OSError."""
    began = time.time()
    names = Names(path)
    found = heapq.nlargest(most, names)
    return Listing([name for _, name in reversed(found)], names.total, began, time.time() - began)


def open_message(path: Path, name: str) -> BinaryIO:
    """The message of this name. Raises FileNotFoundError, also for what is no file of this Maildir."""
    if not NAME.fullmatch(name):
        raise FileNotFoundError(name)
    for folder in FOLDERS:
        try:
            return _opened(path / folder / name)
        except FileNotFoundError:
            continue
    raise FileNotFoundError(name)


def _opened(file: Path) -> BinaryIO:
    """Nothing is followed or waited for: neither a link that somebody has put there nor a pipe."""
    if file.is_symlink():
        raise FileNotFoundError(file)
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(file)
    return os.fdopen(descriptor, "rb")
