"""The clock that leases are judged by on one host: it counts sleep, and no step of the wall clock touches it."""

from __future__ import annotations

import functools
import time
from pathlib import Path

DAY = 24 * 60 * 60
MAX_CLOCK_BACK, MAX_CLOCK_FORWARD = DAY, 366 * DAY  # seconds from one heartbeat to the next sweep

# Seconds since this machine was started (CLOCK_BOOTTIME; elsewhere the monotonic clock).
boot_clock = (
    functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


@functools.cache
def boot_id() -> str:
    """Which start of this machine `boot_clock` counts from."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:  # not Linux: a lease that reaches too far ahead shows that the machine was started again
        return "this machine"


def format_utc(seconds: int) -> str:
    """Return seconds since 1970 as a date and time of UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def clock_is_plausible(now: int, last_heartbeat_at: int) -> bool:
    """Return whether the system clock can be right. A clock that jumped would send everything at once, or nothing."""
    return last_heartbeat_at - MAX_CLOCK_BACK <= now <= last_heartbeat_at + MAX_CLOCK_FORWARD
