"""Sweeping at the right second without cron's help: `--ahead` for a minute, `--watch` for good.

Both remember a time, never an email: when it has come, they look at the database again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

LOOK = 0.5  # seconds between looks: how late an email may be that was POSTed to be due at once
REST = 60.0  # seconds after a sweep that could not send


class Waiter(Protocol):
    """What can be asked to stop, and wakes up when it is."""

    requested: bool

    def wait(self, seconds: float, sleep: Callable[[float], object] = time.sleep) -> None:
        """Sleep for that long, bit by bit, or until a stop is requested or a `sleep` returns True."""


def watch(
    sweep: Callable[[], bool],
    next_work_at: Callable[[], int | None],
    stop: Waiter,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Sweep whenever something becomes due, until a stop is requested. `sweep` tells whether it could send.

    A `sleep` that returns True ends the wait: there is news.
    """
    while not stop.requested:
        if sweep():
            stop.wait(_pause(next_work_at()), sleep)
        else:
            stop.wait(REST)


def ahead(sweep: Callable[[], bool], next_work_at: Callable[[], int | None], stop: Waiter, seconds: float) -> None:
    """Sweep now, then at each second at which something falls due until `seconds` have passed."""
    end = time.time() + seconds
    while sweep() and not stop.requested:
        due_at = next_work_at()
        if due_at is None or max(due_at, time.time()) > end:
            return
        stop.wait(_pause(due_at))


def _pause(due_at: int | None) -> float:
    # What is due already is in the hands of another sender: look now and then whether it left anything.
    left = LOOK if due_at is None else due_at - time.time()
    return min(left, LOOK) if left > 0 else LOOK
