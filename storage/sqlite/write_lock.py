"""A fair write lock around SQLite's single writer, across threads and processes.

Theory of operation
-------------------
SQLite lets waiting writers poll, which is unfair: next to a sender that commits without pause, the web server managed
only a few POSTs a second. So each writer acquires three locks, in this order, before BEGIN IMMEDIATE:

1. a FifoLock, shared by the threads of this process;
2. `<database>-turnstile`, a file lock;
3. `<database>-writer`, a file lock.

It releases the turnstile as soon as it has the writer lock, and the other two after the commit. A process that waits
for the writer lock holds the turnstile meanwhile, so a busy writer that comes straight back finds the turnstile taken
and queues behind it. Nobody can write twice while another process waits for the writer lock. Among several processes
that wait for the turnstile, the order is not guaranteed.

The file locks are polled (every 0.1 ms, doubling to 1 ms), because flock cannot wait with a timeout. Many polling
threads would slow down the working ones, so the FifoLock lets only one thread of a process poll; the others sleep. A
`threading.Lock` would not do, because a newcomer can acquire it ahead of waiting threads.

These locks give fairness, never correctness. SQLite's own lock excludes other writers, so a program that ignores these
does no harm. The time spent waiting here is subtracted from SQLite's busy timeout (`SQLiteConnection._write_locked`).
The kernel releases file locks when a process dies, so none is ever stale, and the files may be deleted while nothing is
running. Without fcntl (on Windows) there are no file locks, and each writer pauses for 1 ms after its commit instead.
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

MIN_POLL_SECONDS, MAX_POLL_SECONDS = 0.0001, 0.001  # between attempts to acquire a file lock


class WriteLockTimeout(Exception):
    """The write lock was not available in time."""


_THREAD_LOCKS: dict[str, FifoLock] = {}  # one for each database


class WriteLock:
    """The write lock of one database, as one connection uses it. Not reentrant. Its constructor raises OSError."""

    def __init__(self, database: Path) -> None:
        names = () if fcntl is None else (f"{database.name}-turnstile", f"{database.name}-writer")
        self._files = [_open(database.with_name(name), database) for name in names]
        self._thread_lock = _THREAD_LOCKS.setdefault(str(database), FifoLock())
        self._is_held = False

    def acquire(self, timeout: float) -> float:
        """Acquire the lock. Return how many seconds that took. Raises WriteLockTimeout after `timeout` seconds."""
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
        """Release the lock, so that the next writer can acquire it."""
        if self._files:
            fcntl.flock(self._files[1], fcntl.LOCK_UN)
            self._release_thread_lock()
        else:
            time.sleep(MAX_POLL_SECONDS)  # without file locks, other writers only get a chance during a pause

    def close(self) -> None:
        """Close the lock files. This releases the lock if it is held."""
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
    if os.geteuid() == 0:  # as SQLite does with its own files, so that root does not lock out the database's owner
        os.fchown(descriptor, owner.st_uid, owner.st_gid)
    return descriptor


def _lock(descriptor: int, deadline: float) -> None:
    # A blocking flock has no timeout.
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
