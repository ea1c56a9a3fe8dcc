"""Turns for the threads of one process, in the order in which they came. Nobody who waits costs anything."""

from __future__ import annotations

from _thread import LockType, allocate_lock
from collections import deque


class Turns:
    """One thread at a time has its turn. Unlike a lock, which whoever comes just then may take before the others."""

    def __init__(self) -> None:
        self._guard = allocate_lock()  # held for a few steps at a time
        self._waiting: deque[LockType] = deque()
        self._is_taken = False

    def take(self, wait: float) -> bool:
        """Wait up to `wait` seconds for one's turn; False if it did not come."""
        with self._guard:
            if not self._is_taken:
                self._is_taken = True
                return True
            mine = allocate_lock()
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
