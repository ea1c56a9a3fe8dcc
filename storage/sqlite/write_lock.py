"""A fair way to SQLite's one write lock: writers that wait are let in between the commits of a busy one.

SQLite's own waiting is unfair: beside a sender that commits without pause, the web server came down to a few
POSTs a second. So every writer takes two file locks in turn: the turnstile, then the write lock, and leaves the
turnstile. Who waits for the write lock holds the turnstile, so that the busy one stands behind it. Of the threads of
one process only one is at the gate, the others wait in line. This gives fairness, never correctness, which stays
SQLite's own.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

SHORTEST, LONGEST = 0.0001, 0.001  # seconds between two looks at a lock that is taken


class GateBusyError(Exception):
    """The gate was not free in time."""


class Turns:
    """Turns for the threads of one process, in the order in which they came; nobody who waits costs anything.

    A lock may be taken by whoever comes just then, before all that wait for it.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()  # held for a few steps at a time
        self._waiting: deque[threading.Lock] = deque()
        self._is_taken = False

    def take(self, wait: float) -> bool:
        """Wait up to `wait` seconds for one's turn; False if it did not come."""
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=wait):
            return True
        with self._guard:
            if mine not in self._waiting:
                return True  # it came just now
            self._waiting.remove(mine)
            return False

    def give(self) -> None:
        """Let the next one have it."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_taken = False


_TURNS: dict[str, Turns] = {}  # of each database


class Gate:
    """The gate of one database, for one connection."""

    def __init__(self, database: Path) -> None:
        names = () if fcntl is None else (f"{database.name}-turnstile", f"{database.name}-writer")
        self._locks = [_open(database.with_name(name), database) for name in names]
        self._turns = _TURNS.setdefault(str(database), Turns())
        self._is_inside = False

    def enter(self, wait: float) -> float:
        """Wait up to `wait` seconds for the turn to write; how long it took. Raises GateBusyError."""
        if not self._locks:
            return 0.0
        began = time.monotonic()
        if not self._turns.take(wait):
            raise GateBusyError
        try:
            self._pass(began + wait)
        except BaseException:
            self._turns.give()
            raise
        self._is_inside = True
        return time.monotonic() - began

    def leave(self) -> None:
        """Let the next one in."""
        if self._locks:
            fcntl.flock(self._locks[1], fcntl.LOCK_UN)
            self._leave_the_line()
        else:
            time.sleep(LONGEST)  # without locks, only a pause lets others in

    def _pass(self, deadline: float) -> None:
        turnstile, writer = self._locks
        _lock(turnstile, deadline)
        try:
            _lock(writer, deadline)
        finally:
            fcntl.flock(turnstile, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the lock files."""
        for descriptor in self._locks:
            os.close(descriptor)
        self._locks = []
        if self._is_inside:
            self._leave_the_line()

    def _leave_the_line(self) -> None:
        self._is_inside = False
        self._turns.give()


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
