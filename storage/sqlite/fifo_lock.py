"""A lock for the threads of one process that are let in strictly in the order in which they asked."""

from __future__ import annotations

import threading
from collections import deque


class FifoLock:
    """A fair lock. Each waiting thread sleeps on a lock of its own; a `threading.Lock` may be taken out of turn."""

    def __init__(self) -> None:
        self._guard = threading.Lock()  # held for a few steps at a time
        self._waiting: deque[threading.Lock] = deque()
        self._is_held = False

    def acquire(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds for the lock; return whether this thread holds it now."""
        with self._guard:
            if not self._is_held:
                self._is_held = True
                return True
            mine = threading.Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=timeout):
            return True
        with self._guard:
            if mine not in self._waiting:
                return True  # it was handed over just now
            self._waiting.remove(mine)
            return False

    def release(self) -> None:
        """Hand the lock to the thread that has waited longest, if any."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False
