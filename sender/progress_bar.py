"""Show the progress of a sweep, if the output is a terminal."""

from __future__ import annotations

import sys
import time
from collections import Counter
from contextlib import suppress
from typing import TextIO

REFRESH_SECONDS = 0.5


class ProgressBar:
    """Counts outcomes and shows the counts on a terminal."""

    def __init__(self, stream: TextIO | None = None, *, enabled: bool = True, sent: str = "sent") -> None:
        """`sent` is the word for a successful message."""
        self._sent = sent
        self._stream = stream or sys.stderr
        # A process that was started with 2>&- has no stderr.
        self._shown = enabled and self._stream is not None and self._stream.isatty()
        self._began = self._next = time.monotonic()
        self.counts: Counter[str] = Counter()  # by outcome

    def count(self, outcome: str, times: int = 1) -> None:
        """Add outcomes of delivery attempts."""
        if times:
            self.counts[outcome] += times
        if self._shown and time.monotonic() >= self._next:
            self._next = time.monotonic() + REFRESH_SECONDS
            self._write("\r")

    @property
    def seconds(self) -> float:
        """The seconds since the sweep began."""
        return time.monotonic() - self._began

    def close(self) -> None:
        """Show the final counts."""
        if self._shown:
            self._write("\r", "\n")

    def _write(self, before: str, after: str = "") -> None:
        seconds = max(self.seconds, 0.001)
        words = {"sent": self._sent, "in_doubt": "in doubt"}
        parts = [f"{count:,} {words.get(name, name)}" for name, count in self.counts.most_common()]
        rate = f"{self.counts['sent'] / seconds:,.0f}/s"
        with suppress(OSError):  # a closed terminal must not stop the mail
            self._stream.write(f"{before}{', '.join(parts) or f'0 {self._sent}'} ({rate})\033[K{after}")
            self._stream.flush()
