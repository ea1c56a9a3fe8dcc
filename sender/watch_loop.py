"""Sweep at the right second: `--ahead` for a limited time, `--watch` until stopped.

Both remember only a time, never an email. At that time they read the database again.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from sender.shutdown import StopRequest

POLL_SECONDS = 0.5  # between checks, which is how late an email that is due at once can be
RETRY_SECONDS = 60.0  # after a sweep that could not send


def watch(
    sweep: Callable[[], bool],
    next_work_at: Callable[[], int | None],
    stop: StopRequest,
    sleep: Callable[[float], object] = time.sleep,
) -> None:
    """Sweep whenever something falls due, until a stop is requested. `sweep` returns whether it could send.

    If `sleep` returns True, something may have become due, and the wait ends early.
    """
    while not stop.requested:
        if sweep():
            stop.wait(_pause(next_work_at()), sleep)
        else:
            stop.wait(RETRY_SECONDS)


def sweep_ahead(
    sweep: Callable[[], bool], next_work_at: Callable[[], int | None], stop: StopRequest, seconds: float
) -> None:
    """Sweep now, and then at every second at which something falls due, until `seconds` have passed."""
    end = time.time() + seconds
    while sweep() and not stop.requested:
        due_at = next_work_at()
        if due_at is None or max(due_at, time.time()) > end:
            return
        stop.wait(_pause(due_at))


def _pause(due_at: int | None) -> float:
    # Another sender is already sending the emails that are due. Check again later whether it left anything.
    left = POLL_SECONDS if due_at is None else due_at - time.time()
    return min(left, POLL_SECONDS) if left > 0 else POLL_SECONDS
