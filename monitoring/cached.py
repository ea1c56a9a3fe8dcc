"""Cache a check that may be slow. It runs once at a time, and callers wait for it only for a limited time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class CheckTimeout(Exception):
    """The check did not finish in time."""


class CachedCheck(Generic[T]):
    """Runs `check` in one thread at a time, and caches its result.

    A result is valid for `ttl` seconds plus `backoff_factor` times the seconds that the check took.
    """

    def __init__(self, check: Callable[[], T], ttl: float = 1.0, *, backoff_factor: float = 0.0) -> None:
        self.ttl = ttl
        self._check = check
        self._backoff_factor = backoff_factor
        self._lock = threading.Lock()
        self._latest: _Run[T] | None = None
        self._latest_finished: _Run[T] | None = None

    def get(self, timeout: float) -> T:
        """Return the result, or raise what the check raised. Raises CheckTimeout `timeout` seconds after its start."""
        return self._current().result(timeout)

    def latest(self, timeout: float) -> T | None:
        """Like `get`, but on a timeout return the result of the previous run, or None if there is none."""
        try:
            return self.get(timeout)
        except CheckTimeout:
            return self._latest_finished.result(0) if self._latest_finished else None

    def _current(self) -> _Run[T]:
        with self._lock:
            latest = self._latest
            if latest is not None and latest.ended_at < time.monotonic():
                self._latest_finished = latest
            if latest is None or self._is_expired(latest):
                latest = self._latest = _Run(self._check)
        return latest

    def _is_expired(self, run: _Run[T]) -> bool:
        lifetime = self.ttl + self._backoff_factor * (run.ended_at - run.began_at)
        return run.ended_at + lifetime <= time.monotonic()


class _Run(Generic[T]):
    """One run of a check, in a daemon thread, because a frozen server may not answer for hours."""

    def __init__(self, check: Callable[[], T]) -> None:
        self.began_at = time.monotonic()
        self.ended_at = float("inf")
        self._results: list[T] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(check,), daemon=True)
        self._thread.start()

    def result(self, timeout: float) -> T:
        """Wait for the result or error of the check. All waiting threads time out at the same moment."""
        self._thread.join(max(self.began_at + timeout - time.monotonic(), 0))
        if self._error is not None:
            raise self._error
        if not self._results:
            raise CheckTimeout
        return self._results[0]

    def _run(self, check: Callable[[], T]) -> None:
        try:
            self._results.append(check())
        except Exception as error:  # noqa: BLE001 - raised in the threads that ask for the result
            self._error = error
        finally:
            self.ended_at = time.monotonic()
