"""Read a Maildir: list the names of its newest messages, and open single messages.

Messages are sorted by name, because names begin with the email's time, and reading the timestamps of a million files
would take a minute. Files that other programs named count as the oldest.
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

MAX_LISTED_NAMES = 10_000
VALID_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._=+,:-]{0,250}")  # not a path; email clients append flags
TIMESTAMPED_NAME = re.compile(r"[0-9]{10}\.")
FOLDERS = ("new", "cur")


class Listing(NamedTuple):
    """The newest names at one moment, oldest first, and the total number of names."""

    names: list[str]
    total: int
    seen_at: float
    seconds: float  # the time that the listing took

    def before(self, name: str | None, count: int) -> list[str]:
        """Return up to `count` names before `name`, newest first. If `name` is None, start with the newest of all."""
        end = len(self.names) if name is None else bisect_left(self.names, sort_key(name), key=sort_key)
        return self.names[max(end - count, 0) : end][::-1]


class Names:
    """Iterates over the sort keys of all names and counts them in `total`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.total = 0

    def __iter__(self) -> Iterator[tuple[str, str]]:
        for folder in FOLDERS:
            try:
                with os.scandir(self._path / folder) as files:
                    for file in files:
                        if VALID_NAME.fullmatch(file.name):
                            self.total += 1
                            yield sort_key(file.name)
            except FileNotFoundError:
                continue  # no mail has been delivered yet


def sort_key(name: str) -> tuple[str, str]:
    """Return the sort key of a name: its time, or '' if it has none, then the name."""
    return name[:10] if TIMESTAMPED_NAME.match(name) else "", name


def newest(path: Path, most: int = MAX_LISTED_NAMES) -> Listing:
    """Read all names in the Maildir at `path` and return the newest `most`. Raises OSError."""
    started = time.time()
    names = Names(path)
    newest_keys = heapq.nlargest(most, names)
    return Listing([name for _, name in reversed(newest_keys)], names.total, started, time.time() - started)


def open_message(path: Path, name: str) -> BinaryIO:
    """Open the message with this name. Raises FileNotFoundError for anything but a regular file in this Maildir."""
    if not VALID_NAME.fullmatch(name):
        raise FileNotFoundError(name)
    for folder in FOLDERS:
        try:
            return _open_regular(path / folder / name)
        except FileNotFoundError:
            continue
    raise FileNotFoundError(name)


def _open_regular(file: Path) -> BinaryIO:
    """Open a regular file. Does not follow a symbolic link or wait for a pipe that someone may have put there."""
    if file.is_symlink():
        raise FileNotFoundError(file)
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(file)
    return os.fdopen(descriptor, "rb")
