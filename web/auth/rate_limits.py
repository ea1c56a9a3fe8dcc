"""How often a client may ask: RATE_LIMIT for all requests, and always a bound on wrong tokens.

Counted in Redis where the service uses it, so that all processes and machines count together; else in the memory of
each process of the web server. This is the library inside Flask-Limiter, without the hooks that each request would pay.
"""

from __future__ import annotations

import logging
import threading
import time
from functools import cached_property
from typing import TYPE_CHECKING

from limits import RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import FixedWindowRateLimiter
from werkzeug.exceptions import TooManyRequests

from settings import Settings
from web.auth.client_address import client_of

if TYPE_CHECKING:
    from schedulers.redis_queue import WakeUps

WRONG_TOKENS_PER_MINUTE = 10  # from one client
TRIALS_PER_MINUTE = 6  # test messages from one client; each may occupy a thread for a while
REDIS_RETRY_AFTER = 15.0  # seconds after an error


class Limits:
    """The counters of one process."""

    def __init__(self, settings: Settings, wake_ups: WakeUps | None) -> None:
        self._wake_ups = wake_ups
        self._rest_until = 0.0
        self._lock = threading.Lock()
        self._refused: dict[str, float] = {}  # clients with too many wrong tokens, until when
        processes = settings.web_workers if wake_ups is None else 1
        self._wrong_tokens = RateLimitItemPerMinute(-(-WRONG_TOKENS_PER_MINUTE // processes), namespace="wrong-tokens")
        self._trials = RateLimitItemPerMinute(-(-TRIALS_PER_MINUTE // processes), namespace="trials")
        self._requests = None
        if settings.rate_limit:
            self._requests = RateLimitItemPerMinute(settings.rate_limit, namespace="requests")

    def count_request(self, address: str) -> None:
        """Raises TooManyRequests if RATE_LIMIT is used up."""
        if self._requests is not None:
            wait = self._hit(self._requests, client_of(address))
            if wait:
                raise TooManyRequests("too many requests (RATE_LIMIT)", retry_after=wait)

    def refuse_guessing(self, address: str) -> None:
        """Raises TooManyRequests if this client has sent too many wrong tokens: the next is not even looked at."""
        if self._refused:
            wait = self._refused.get(client_of(address), 0.0) - time.monotonic()
            if wait > 0:
                raise too_many_wrong_tokens(wait)

    def count_wrong_token(self, address: str) -> None:
        """Raises TooManyRequests if it is one too many."""
        client = client_of(address)
        wait = self._hit(self._wrong_tokens, client)
        if wait:
            now = time.monotonic()
            self._refused = {name: until for name, until in self._refused.items() if until > now}
            self._refused[client] = now + wait
            raise too_many_wrong_tokens(wait)

    def seconds_until_trial(self, address: str) -> int:
        """Count a test of this client's; the seconds until it may be sent, 0 if that is now."""
        return self._hit(self._trials, client_of(address))

    def _hit(self, item: RateLimitItemPerMinute, client: str) -> int:
        """Count one; the seconds until the next is taken, 0 if this one was."""
        if self._wake_ups is not None and time.monotonic() > self._rest_until:
            try:
                return _hit(self._shared, item, client)
            except StorageError as error:
                self._rest_until = time.monotonic() + REDIS_RETRY_AFTER
                reason = type(error.storage_error).__name__  # its text may hold a password
                logging.getLogger(__name__).warning("requests are counted in each process for now: %s", reason)
        with self._lock:  # MemoryStorage.incr of limits 5.8 forgets a count when two threads add a new key at once
            return _hit(self._own, item, client)

    @cached_property
    def _shared(self) -> FixedWindowRateLimiter:
        assert self._wake_ups is not None  # noqa: S101 - for mypy: looked at before
        pool = self._wake_ups.connection_pool
        return FixedWindowRateLimiter(RedisStorage("redis://", connection_pool=pool, wrap_exceptions=True))

    @cached_property
    def _own(self) -> FixedWindowRateLimiter:
        return FixedWindowRateLimiter(MemoryStorage())


def _hit(limiter: FixedWindowRateLimiter, item: RateLimitItemPerMinute, client: str) -> int:
    if limiter.hit(item, client):
        return 0
    return max(1, int(limiter.get_window_stats(item, client).reset_time - time.time()) + 1)


def too_many_wrong_tokens(wait: float) -> TooManyRequests:
    """The refusal; `wait` in seconds."""
    return TooManyRequests("too many wrong tokens from this client; come again later", retry_after=int(wait) + 1)
