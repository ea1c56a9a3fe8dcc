"""A fair way to SQLite's one write lock: writers that wait are let in between the commits of a busy one.

SQLite's own waiting is unfair: beside a sender that commits without pause, the web server came down to a few
POSTs a second. So every writer takes two file locks in turn: the turnstile, then the write lock, and leaves the
turnstile. Who waits for the write lock holds the turnstile, so that the busy one stands behind it. This gives
fairness, never correctness, which stays SQLite's own.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SHORTEST, LONGEST = 0.0001, 0.001  # seconds between two looks at a lock that is taken


class GateBusyError(Exception):
    """The gate was not free in time."""


class Gate:
    """The gate of one database, for one connection."""

    def __init__(self, database: Path) -> None:
        names = () if fcntl is None else (f"{database.name}-turnstile", f"{database.name}-writer")
        self._locks = [_open(database.with_name(name), database) for name in names]

    def enter(self, wait: float) -> float:
        """Wait up to `wait` seconds for the turn to write; how long it took. Raises GateBusyError."""
        if not self._locks:
            return 0.0
        turnstile, writer = self._locks
        began = time.monotonic()
        deadline = began + wait
        _lock(turnstile, deadline)
        try:
            _lock(writer, deadline)
        finally:
            fcntl.flock(turnstile, fcntl.LOCK_UN)
        return time.monotonic() - began

    def leave(self) -> None:
        """Let the next one in."""
        if self._locks:
            fcntl.flock(self._locks[1], fcntl.LOCK_UN)
        else:
            time.sleep(LONGEST)  # without locks, only a pause lets others in

    def close(self) -> None:
        """Close the lock files."""
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks = []


def _open(path: Path, database: Path) -> int:
    owner = database.stat()
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:  # as SQLite does with its own files, so that root keeps nobody out by having looked
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def _lock(descriptor: int, deadline: float) -> None:
    # Not flock's own waiting, which cannot be bounded.
    pause = SHORTEST
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise GateBusyError from None
            time.sleep(pause)
            pause = min(pause * 2, LONGEST)
        else:
            return
