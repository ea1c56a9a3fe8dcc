"""Graceful shutdown on SIGTERM and Ctrl-C: messages in flight are finished first."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from types import FrameType

POLL_SECONDS = 0.2  # how soon a wait ends after a stop request


class StopRequest:
    """Whether a stop was requested. A second signal ends the process at once."""

    def __init__(self) -> None:
        self.requested = False

    def install(self) -> None:
        """Handle SIGTERM and SIGINT, and on Windows, which has no SIGTERM between processes, also Ctrl-Break."""
        for name in ("SIGTERM", "SIGINT", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is not None:
                signal.signal(number, self._request)

    def after(self, seconds: float) -> None:
        """Request a stop after `seconds`."""
        timer = threading.Timer(seconds, self._time_is_up)
        timer.daemon = True
        timer.start()

    def wait(self, seconds: float, sleep: Callable[[float], object] = time.sleep) -> None:
        """Sleep for `seconds`, in short steps. End early after a stop request, or once `sleep` returns True."""
        end = time.monotonic() + seconds
        while not self.requested and (left := end - time.monotonic()) > 0:
            if sleep(min(left, POLL_SECONDS)):
                return

    def _time_is_up(self) -> None:
        self.requested = True

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        signal.signal(number, signal.SIG_DFL)
