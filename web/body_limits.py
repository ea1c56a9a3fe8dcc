"""Limit how many threads wait for clients, either for the rest of a body or while a client reads a large response.

Each such wait occupies a thread of the server. MAX_ANONYMOUS_READS, MAX_AUTHENTICATED_READS, MAX_DOWNLOADS and
MAX_DISCARDS together are fewer than the threads, so there are always threads for other requests. A request that gets no
permit waits for a moment, while clients that stall are disconnected (`web/slow_clients.py`). Then it gets a 503.

A response that is sent before the body was read would not reach most clients: they send the whole body first, and
closing a connection with unread data resets it. So the rest of the body is read and discarded, within limits, after the
response has been sent (RFC 9112, 9.6).
"""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, cast

from flask import Request
from werkzeug.exceptions import RequestTimeout, ServiceUnavailable

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

THREADS = 24  # of each worker process
MAX_ANONYMOUS_READS = 3
MAX_AUTHENTICATED_READS = 7
MAX_DOWNLOADS = 3
MAX_DISCARDS = 2
MAX_WAITING = 2  # requests per kind of permit, if no permit has been returned within TURNOVER
TURNOVER = 0.15  # seconds; with many fast clients, permits are returned every few milliseconds
ACQUIRE_TIMEOUT = 1.5  # seconds; a body that has arrived is read in microseconds
RETRY_AFTER = 5  # seconds
READ_SIZE = 65_536  # bytes
MIN_PART = 8_192  # bytes that a slow client must send at a time
QUICK = 0.1  # seconds for a part
READ_TIMEOUT = 120  # seconds for a whole body
MIN_STALL = 1.0  # seconds after which a client may be disconnected
DISCARD_TIMEOUT = 5.0  # seconds
MAX_DISCARDED = 100_000_000  # bytes
WSGI_INPUT = "wsgi.input"
REQUEST_TIMED_OUT = "the request timed out"


class _Waiter:
    """A thread that waits for a permit. It wakes up when it gets one, or when it is rejected."""

    __slots__ = ("_awake", "has_permit")

    def __init__(self) -> None:
        self.has_permit = False
        self._awake = threading.Lock()
        self._awake.acquire()

    def sleep(self, seconds: float) -> bool:
        return self._awake.acquire(timeout=seconds)

    def wake(self) -> None:
        self._awake.release()


class ConcurrencyLimit:
    """A number of permits, for which threads wait briefly, but only a few of them if no permit is being returned.

    Permits are short if a request gets none within TURNOVER. Under a high load of fast clients they are not.

    The newest waiter gets the next permit, so that the waiters of a flood do not delay everyone after them.
    """

    def __init__(self, number: int, shortage: threading.Event, reason: str) -> None:
        """Sets `shortage` when permits are short. `reason` is the error message for clients that get none."""
        self._permits = number
        self._waiters: deque[_Waiter] = deque()
        self._lock = threading.Lock()  # held only briefly
        self._short_until = self._returned_at = 0.0
        self._shortage = shortage
        self._reason = reason

    def acquire(self) -> None:
        """Take one of the permits. Raises ServiceUnavailable if all of them stay in use."""
        with self._lock:
            waiter = None if self._permits else self._join()
            self._permits -= waiter is None
        if waiter is not None and not self._wait(waiter):
            raise ServiceUnavailable(self._reason, retry_after=RETRY_AFTER)

    def acquire_now(self) -> bool:
        """Take one of the permits. Return False if all of them are in use."""
        with self._lock:
            if self._permits:
                self._permits -= 1
                return True
        self._note_shortage()
        return False

    def release(self) -> None:
        """Return the permit, or pass it to the newest waiter."""
        with self._lock:
            self._returned_at = time.monotonic()
            if self._waiters:
                waiter = self._waiters.pop()
                waiter.has_permit = True
                waiter.wake()
            else:
                self._permits += 1

    def is_short(self) -> bool:
        """Return whether a request recently got no permit."""
        return time.monotonic() < self._short_until

    def _join(self) -> _Waiter:
        waiter = _Waiter()
        self._waiters.append(waiter)
        self._refuse_surplus()
        return waiter

    def _refuse_surplus(self) -> None:
        if time.monotonic() - self._returned_at > TURNOVER:
            while len(self._waiters) > MAX_WAITING:
                self._waiters.popleft().wake()

    def _note_shortage(self) -> None:
        self._short_until = time.monotonic() + ACQUIRE_TIMEOUT
        self._shortage.set()

    def _wait(self, waiter: _Waiter) -> bool:
        is_awake = waiter.sleep(TURNOVER)
        if not waiter.has_permit:
            self._note_shortage()
        if not is_awake:
            with self._lock:
                self._refuse_surplus()
            if not waiter.sleep(ACQUIRE_TIMEOUT - TURNOVER):
                with self._lock:
                    if waiter in self._waiters:
                        self._waiters.remove(waiter)
        return waiter.has_permit


class RequestBody:
    """The body of a request in WSGI. It counts against `limit` while it is being read. Supports only `read`.

    It is read in small parts at first, and as long as the client is slow, so that a late part means little progress.
    """

    __slots__ = (
        "_deadline",
        "_environ",
        "_has_permit",
        "_is_given_up",
        "_part_size",
        "_received",
        "_size",
        "_stream",
        "is_discarded",
        "limit",
        "reading_since",
        "thread",
    )

    def __init__(self, environ: WSGIEnvironment, limit: ConcurrencyLimit) -> None:
        self._environ = environ
        self._stream: IO[bytes] = environ[WSGI_INPUT]
        self._part_size = MIN_PART
        self._size = -1  # bytes, once it is known
        self._received = 0
        self._has_permit = self._is_given_up = False
        self.limit = limit
        self.is_discarded = False
        self.reading_since = 0.0  # start of the current read; 0 if there is none

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, or none at the end. Raises RequestTimeout and ServiceUnavailable."""
        if not self._has_permit:
            self._begin()
        self.reading_since = began = time.monotonic()
        try:
            data = self._stream.read(min(size, self._part_size) if size > 0 else size)
        finally:
            self.reading_since = 0.0
        now = time.monotonic()
        if self._is_given_up or now > self._deadline:
            raise RequestTimeout
        self._part_size = READ_SIZE if now - began < QUICK else MIN_PART
        self._received += len(data)
        if not data:
            self._size = self._received
        if self._received == self._size:
            self.end()
        return data

    def end(self) -> None:
        """Return the permit, because nothing more will be read."""
        if self._has_permit:
            self._has_permit = False
            self.limit.release()

    def give_up(self) -> bool:
        """Make the current read raise RequestTimeout. Return False if there is none."""
        self._is_given_up = True
        return self.reading_since > 0

    def has_rest(self) -> bool:
        """Return whether a part of the body may be unread. The client may still be sending it."""
        if self._is_given_up or self._received == self._size:
            return False
        if self._size < 0:
            self._size = _size_of(self._environ)
        # A client that waits for a response before it sends the body will not send it now.
        return self._received != self._size and "HTTP_EXPECT" not in self._environ

    def discard(self) -> None:
        """Read and discard the rest, within limits."""
        self.is_discarded = True
        self.reading_since = time.monotonic()
        deadline, end = self.reading_since + DISCARD_TIMEOUT, self._received + MAX_DISCARDED
        now, size = self.reading_since, READ_SIZE
        while self._received < end and now < deadline and (data := self._stream.read(size)):
            began, now = now, time.monotonic()
            size = READ_SIZE if now - began < QUICK else 1  # a slow client is then late with every byte
            self._received += len(data)

    def _begin(self) -> None:
        self.limit.acquire()
        self._has_permit = True
        self.thread = threading.get_ident()
        self._deadline = time.monotonic() + READ_TIMEOUT
        self._size = _size_of(self._environ)


def _size_of(environ: WSGIEnvironment) -> int:
    """Return the size of the body of a request in bytes, or a large number if it is unknown."""
    length = environ.get("CONTENT_LENGTH")
    if length is None:
        return sys.maxsize if "HTTP_TRANSFER_ENCODING" in environ else 0
    return int(length[:19]) if length.isdecimal() else sys.maxsize


class BodyLimits:
    """The limits of one process, and the requests that it is handling."""

    def __init__(self) -> None:
        self.shortage = threading.Event()
        stalled = "too many stalled uploads; try again in a few seconds"
        self.anonymous = ConcurrencyLimit(MAX_ANONYMOUS_READS, self.shortage, stalled)
        self.authenticated = ConcurrencyLimit(MAX_AUTHENTICATED_READS, self.shortage, stalled)
        self.downloads = ConcurrencyLimit(
            MAX_DOWNLOADS, self.shortage, "too many large downloads; try again in a few seconds"
        )
        self.active: set[RequestBody] = set()
        self.discards = ConcurrencyLimit(MAX_DISCARDS, self.shortage, "")

    def is_short(self) -> bool:
        """Return whether a request recently got no permit of any kind."""
        return any(each.is_short() for each in (self.anonymous, self.authenticated, self.downloads, self.discards))

    def discard_after(self, answer: Iterable[bytes], body: RequestBody) -> Iterator[bytes]:
        """Yield the response, then discard the rest of the body. The server sends each chunk as soon as it gets it."""
        try:
            yield from answer
            if self.discards.acquire_now():
                self.active.add(body)
                try:
                    body.discard()
                finally:
                    self.active.discard(body)
                    self.discards.release()
        finally:
            if hasattr(answer, "close"):
                answer.close()


def mark_authenticated(request: Request, limits: BodyLimits) -> None:
    """Count the body of this request against the limit for authenticated clients."""
    cast(RequestBody, request.environ[WSGI_INPUT]).limit = limits.authenticated
