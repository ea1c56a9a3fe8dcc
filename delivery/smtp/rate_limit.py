"""A rate limiter that spaces messages evenly."""

from __future__ import annotations

import sys

MAX_CATCH_UP_SECONDS = 0.02  # delays up to this long are made up for; a longer pause is not followed by a burst


class RateLimiter:
    """Allows one message every 1/rate seconds across all connections. A rate of 0 means no limit."""

    def __init__(self, rate: float, now: float) -> None:
        self.enabled = rate > 0
        self.per_second = max(1, int(rate)) if rate > 0 else sys.maxsize
        self._interval = 1 / rate if rate > 0 else 0.0
        self._next_start = now

    def delay(self, now: float) -> float:
        """Return the seconds until the next message may start."""
        return max(0.0, self._next_start - now) if self.enabled else 0.0

    def try_start(self, now: float) -> bool:
        """Return whether a message may start now. If so, it counts as started."""
        if not self.enabled:
            return True
        if now < self._next_start:
            return False
        self._next_start = max(self._next_start, now - MAX_CATCH_UP_SECONDS) + self._interval
        return True
