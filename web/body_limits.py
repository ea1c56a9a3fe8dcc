"""Limits how many request bodies are read at a time, so that clients that stall cannot occupy every thread.

A client that stalls in the middle of its body occupies a thread of the server until it disconnects. This caps the
damage at MAX_ANONYMOUS_READS threads for anonymous clients and MAX_AUTHENTICATED_READS for authenticated ones; all
other requests are served. A proxy that buffers requests avoids the problem altogether.
"""

from __future__ import annotations

import threading
import time
from typing import IO, cast

from flask import Request
from werkzeug.exceptions import ServiceUnavailable

MAX_ANONYMOUS_READS = 3
MAX_AUTHENTICATED_READS = 10  # together fewer than the threads of the server
ACQUIRE_TIMEOUT = 0.5  # seconds; a body that has arrived is read in microseconds
RETRY_AFTER = 5  # seconds
WSGI_INPUT = "wsgi.input"


class ConcurrencyLimit:
    """A semaphore that refuses at once, without waiting, for a while after a wait for it has timed out."""

    def __init__(self, number: int) -> None:
        self._semaphore = threading.BoundedSemaphore(number)
        self._exhausted_until = 0.0

    def acquire(self) -> None:
        """Take one of the permits. Raises ServiceUnavailable if all of them stay in use."""
        if self._semaphore.acquire(blocking=False):
            return
        if time.monotonic() < self._exhausted_until or not self._semaphore.acquire(timeout=ACQUIRE_TIMEOUT):
            self._exhausted_until = time.monotonic() + 2 * ACQUIRE_TIMEOUT
            raise ServiceUnavailable("too many requests stall in the middle of their bodies", retry_after=RETRY_AFTER)

    def release(self) -> None:
        self._semaphore.release()


class LimitedBody:
    """The body of a request in WSGI. Each read counts against `limit` while it lasts. Nothing reads it by lines."""

    def __init__(self, stream: IO[bytes], limit: ConcurrencyLimit) -> None:
        self._stream = stream
        self.limit = limit

    def read(self, size: int = -1) -> bytes:
        self.limit.acquire()
        try:
            return self._stream.read(size)
        finally:
            self.limit.release()


class BodyLimits:
    """The limits of one process."""

    def __init__(self) -> None:
        self.anonymous = ConcurrencyLimit(MAX_ANONYMOUS_READS)
        self.authenticated = ConcurrencyLimit(MAX_AUTHENTICATED_READS)

    def wrap(self, stream: IO[bytes]) -> LimitedBody:
        """Return the body of a request whose client is not known yet."""
        return LimitedBody(stream, self.anonymous)


def mark_authenticated(request: Request, limits: BodyLimits) -> None:
    """Count the body of this request against the limit for clients that may use the service."""
    cast(LimitedBody, request.environ[WSGI_INPUT]).limit = limits.authenticated
