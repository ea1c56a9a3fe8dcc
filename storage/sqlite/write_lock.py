"""A fair lock for SQLite's one writer: waiting writers are let in between the commits of a busy one.

SQLite's own waiting is unfair: beside a sender that commits without pause, the web server managed only a few POSTs a
second. So every writer takes two file locks: first the turnstile, then the write lock; then it releases the turnstile.
A writer that waits for the write lock holds the turnstile, so a busy writer queues behind it. Only one thread of each
process takes part in this; the others wait for it in a FifoLock. All this is for fairness only. Correctness is left to
SQLite's own lock.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from storage.sqlite.fifo_lock import FifoLock

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 0.0001, 0.001  # between two tries to get a lock that is held


class WriteLockTimeout(Exception):
    """The write lock was not free in time."""


_THREAD_LOCKS: dict[str, FifoLock] = {}  # of each database


class WriteLock:
    """The write lock of one database, for one connection."""

    def __init__(self, database: Path) -> None:
        names = () if fcntl is None else (f"{database.name}-turnstile", f"{database.name}-writer")
        self._files = [_open(database.with_name(name), database) for name in names]
        self._thread_lock = _THREAD_LOCKS.setdefault(str(database), FifoLock())
        self._is_held = False

    def acquire(self, timeout: float) -> float:
        """Wait up to `timeout` seconds for the lock; return how long it took. Raises WriteLockTimeout."""
        if not self._files:
            return 0.0
        began = time.monotonic()
        if not self._thread_lock.acquire(timeout):
            raise WriteLockTimeout
        try:
            self._lock_files(began + timeout)
        except BaseException:
            self._thread_lock.release()
            raise
        self._is_held = True
        return time.monotonic() - began

    def release(self) -> None:
        """Let the next writer in."""
        if self._files:
            fcntl.flock(self._files[1], fcntl.LOCK_UN)
            self._release_thread_lock()
        else:
            time.sleep(MAX_POLL_SECONDS)  # without file locks, only a pause lets others in

    def close(self) -> None:
        """Close the lock files, which releases the lock."""
        for descriptor in self._files:
            os.close(descriptor)
        self._files = []
        if self._is_held:
            self._release_thread_lock()

    def _lock_files(self, deadline: float) -> None:
        turnstile, writer = self._files
        _lock(turnstile, deadline)
        try:
            _lock(writer, deadline)
        finally:
            fcntl.flock(turnstile, fcntl.LOCK_UN)

    def _release_thread_lock(self) -> None:
        self._is_held = False
        self._thread_lock.release()


def _open(path: Path, database: Path) -> int:
    owner = database.stat()
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    if os.geteuid() == 0:  # as SQLite does with its own files: a file that root created must not lock out the owner
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def _lock(descriptor: int, deadline: float) -> None:
    # A blocking flock cannot be given a timeout.
    pause = MIN_POLL_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise WriteLockTimeout from None
            time.sleep(pause)
            pause = min(pause * 2, MAX_POLL_SECONDS)
        else:
            return
