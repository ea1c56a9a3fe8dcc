"""Being asked to stop, by SIGTERM or Ctrl-C: what is in flight is finished first."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

TICK = 0.2  # seconds; how soon a wait ends once a stop was requested


class Stop:
    """Whether a stop was requested. A second request ends the process at once."""

    def __init__(self) -> None:
        self.requested = False

    def install(self) -> None:
        """Listen to SIGTERM and SIGINT; on Windows, where processes send no SIGTERM, to Ctrl-Break too."""
        for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, self._request)

    def after(self, seconds: float) -> None:
        """Request a stop after this many seconds, whatever the process is doing then."""
        timer = threading.Timer(seconds, self._time_is_up)
        timer.daemon = True
        timer.start()

    def wait(self, seconds: float, sleep: Callable[[float], object] = time.sleep) -> None:
        """Sleep for that long, bit by bit, or until a stop is requested or a `sleep` returns True."""
        end = time.monotonic() + seconds
        while not self.requested and (left := end - time.monotonic()) > 0:
            if sleep(min(left, TICK)):
                return

    def _time_is_up(self) -> None:
        self.requested = True

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(number, signal.SIG_DFL)
