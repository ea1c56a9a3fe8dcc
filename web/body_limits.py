"""Bodies that stall must not hold every thread of the server: only so many are read at a time.

A proxy that buffers requests keeps stalled ones away altogether. Without one, a client that sends half a body holds a
thread until it goes away: strangers as many as STRANGERS, clients with a token as many as KNOWN. All else is answered.
"""

from __future__ import annotations

import threading
import time
from typing import IO, cast

from flask import Request
from werkzeug.exceptions import ServiceUnavailable

STRANGERS = 3
KNOWN = 10  # together fewer than the threads of the server
PATIENCE = 0.5  # seconds; a body that is there is read in microseconds
KEY = "wsgi.input"


class Seats:
    """So many threads may be reading at a time. Once that many stall, others are refused without waiting."""

    def __init__(self, number: int) -> None:
        self._free = threading.BoundedSemaphore(number)
        self._stalled_until = 0.0

    def take(self) -> None:
        """Raises ServiceUnavailable if there is none."""
        if self._free.acquire(blocking=False):
            return
        if time.monotonic() < self._stalled_until or not self._free.acquire(timeout=PATIENCE):
            self._stalled_until = time.monotonic() + 2 * PATIENCE
            raise ServiceUnavailable("too many requests stall in the middle of their bodies", retry_after=5)

    def leave(self) -> None:
        """Give the seat back."""
        self._free.release()


class Body:
    """The body of a request as WSGI hands it out; each read takes a seat as long as it lasts."""

    def __init__(self, stream: IO[bytes], seats: Seats) -> None:
        self._stream = stream
        self.seats = seats

    def read(self, size: int = -1) -> bytes:
        """As of any stream."""
        self.seats.take()
        try:
            return self._stream.read(size)
        finally:
            self.seats.leave()

    def readline(self, size: int = -1) -> bytes:
        """As of any stream."""
        self.seats.take()
        try:
            return self._stream.readline(size)
        finally:
            self.seats.leave()


class Bodies:
    """The seats of one process."""

    def __init__(self) -> None:
        self.strangers = Seats(STRANGERS)
        self.known = Seats(KNOWN)

    def of_stranger(self, stream: IO[bytes]) -> Body:
        """The body of a request of which nothing is known yet."""
        return Body(stream, self.strangers)


def know(request: Request, bodies: Bodies) -> None:
    """Give the body of a client that may use the service one of the many seats."""
    cast(Body, request.environ[KEY]).seats = bodies.known
