"""A first-come, first-served lock for threads. `write_lock.py` says why it is needed."""

from __future__ import annotations

import threading
from collections import deque


class FifoLock:
    """A fair lock. Waiting threads sleep, each on its own lock, and do not poll.

    `threading.Lock` is unfair: a newcomer can acquire it ahead of threads that are already waiting.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()  # held only for a few instructions
        self._waiting: deque[threading.Lock] = deque()
        self._is_held = False

    def acquire(self, timeout: float) -> bool:
        """Acquire the lock. Return False if that takes more than `timeout` seconds."""
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
                return True  # it was handed over in the meantime
            self._waiting.remove(mine)
            return False

    def release(self) -> None:
        """Release the lock, or hand it to the thread that has waited longest."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._is_held = False
