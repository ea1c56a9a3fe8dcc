"""How fast: messages spread evenly over time."""

from __future__ import annotations

import sys

LATE = 0.02  # seconds: so much lateness of our own is caught up with, so that no bursts follow a pause


class Pace:
    """One message each 1/rate seconds, over all connections; a rate of 0 is no bound."""

    def __init__(self, rate: float, now: float) -> None:
        self.bounded = rate > 0
        self.per_second = max(1, int(rate)) if rate > 0 else sys.maxsize
        self._interval = 1 / rate if rate > 0 else 0.0
        self._next = now

    def wait(self, now: float) -> float:
        """Seconds until the next message may start."""
        return max(0.0, self._next - now) if self.bounded else 0.0

    def start(self, now: float) -> bool:
        """Start a message, if its time has come."""
        if not self.bounded:
            return True
        if now < self._next:
            return False
        self._next = max(self._next, now - LATE) + self._interval
        return True
