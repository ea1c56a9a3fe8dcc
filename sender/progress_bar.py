"""How far a sweep has come, on a terminal; nothing anywhere else."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import suppress
from typing import TextIO

EVERY = 0.5  # seconds


class Display:
    """Counts outcomes, and shows them on a terminal while they come."""

    def __init__(self, stream: TextIO | None = None, *, wanted: bool = True) -> None:
        self._stream = stream or sys.stderr
        # Started with 2>&-, there is no stderr at all.
        self._shown = wanted and self._stream is not None and self._stream.isatty()
        self._began = self._next = time.monotonic()
        self.counts: Counter[str] = Counter()  # of outcomes

    def count(self, outcome: str, times: int = 1) -> None:
        """Add outcomes of delivery attempts."""
        if times:
            self.counts[outcome] += times
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            self._write("\r")

    @property
    def seconds(self) -> float:
        """Since the sweep began."""
        return time.monotonic() - self._began

    def close(self) -> None:
        """Show the final numbers."""
        if self._shown:
            self._write("\r", "\n")

    def _write(self, before: str, after: str = "") -> None:
        seconds = max(self.seconds, 0.001)
        parts = [f"{count:,} {name.replace('_', ' ')}" for name, count in self.counts.most_common()]
        rate = f"{self.counts['sent'] / seconds:,.0f} a second"
        with suppress(OSError):  # a terminal that is gone must not stop the mail
            self._stream.write(f"{before}{', '.join(parts) or 'nothing sent yet'} ({rate})\033[K{after}")
            self._stream.flush()
