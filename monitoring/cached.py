"""A look at something that may be slow: one at a time, however many ask, and nobody waits for it for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class StillLooking(Exception):
    """The look has not ended in time."""


class Look(Generic[T]):
    """Looks by `look`; what that saw is given again for `fresh` seconds and `rest` times as long as it took."""

    def __init__(self, look: Callable[[], T], fresh: float = 1.0, *, rest: float = 0.0) -> None:
        self._look = look
        self._fresh = fresh
        self._rest = rest
        self._lock = threading.Lock()
        self._latest: _Looking[T] | None = None
        self._former: _Looking[T] | None = None  # the last one that has ended

    def see(self, patience: float) -> T:
        """What it saw, once it has, or what it raised. Raises StillLooking after so many seconds."""
        return self._current().result(patience)

    def glance(self, patience: float) -> T | None:
        """The same, but rather than StillLooking what was seen the time before, or None."""
        try:
            return self.see(patience)
        except StillLooking:
            return self._former.result(0) if self._former else None

    def _current(self) -> _Looking[T]:
        with self._lock:
            latest = self._latest
            if latest is not None and latest.ended_at < time.monotonic():
                self._former = latest
            if latest is None or self._is_old(latest):
                latest = self._latest = _Looking(self._look)
        return latest

    def _is_old(self, looking: _Looking[T]) -> bool:
        kept = self._fresh + self._rest * (looking.ended_at - looking.began_at)
        return looking.ended_at + kept <= time.monotonic()


class _Looking(Generic[T]):
    """One look, in a thread that nobody has to wait for: a server that is frozen answers nothing for hours."""

    def __init__(self, look: Callable[[], T]) -> None:
        self.began_at = time.monotonic()
        self.ended_at = float("inf")
        self._found: list[T] = []
        self._raised: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(look,), daemon=True)
        self._thread.start()

    def result(self, patience: float) -> T:
        """What it saw, once it has; what it raised. All who wait give up at the same moment."""
        self._thread.join(max(self.began_at + patience - time.monotonic(), 0))
        if self._raised is not None:
            raise self._raised
        if not self._found:
            raise StillLooking
        return self._found[0]

    def _run(self, look: Callable[[], T]) -> None:
        try:
            self._found.append(look())
        except Exception as error:  # noqa: BLE001 - raised where it is asked for
            self._raised = error
        finally:
            self.ended_at = time.monotonic()
