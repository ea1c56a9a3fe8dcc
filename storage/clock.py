"""The clocks of a machine: the wall clock, which may be set at any time, and the boot clock, which nothing steps.

Leases are judged by the boot clock. It counts the seconds since the machine was started, with those in which it slept.
Within one boot both clocks advance equally, so their difference changes only if somebody sets the wall clock.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path

DAY = 24 * 60 * 60
MAX_CLOCK_BACK, MAX_CLOCK_FORWARD = DAY, 366 * DAY  # seconds from one heartbeat to the next sweep
MAX_CLOCK_STEP = 10 * 60  # seconds within one boot, and between this clock and the database server's

# Seconds since this machine was started (CLOCK_BOOTTIME; elsewhere the monotonic clock).
boot_clock = (
    functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
UNKNOWN_BOOT = "this machine"  # not Linux: a lease that reaches too far ahead shows that the machine was started again


@functools.cache
def boot_id() -> str:
    """Which start of this machine `boot_clock` counts from."""
    try:
        return BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except OSError:
        return UNKNOWN_BOOT


def clock_offset() -> int:
    """Return how many seconds the wall clock (since 1970 UTC) is ahead of the boot clock."""
    return round(time.time() - boot_clock())


def format_utc(seconds: int) -> str:
    """Return seconds since 1970 as a date and time of UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def clock_is_plausible(now: int, last_heartbeat_at: int) -> bool:
    """Return whether the system clock can be right. A clock that jumped would send everything at once, or nothing."""
    return last_heartbeat_at - MAX_CLOCK_BACK <= now <= last_heartbeat_at + MAX_CLOCK_FORWARD
