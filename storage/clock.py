"""The clocks of a machine: the wall clock, which can be set at any time, and the boot clock, which cannot.

Leases are measured by the boot clock. It counts the seconds since the machine was started, including those in which it
was asleep. Within one boot, both clocks advance equally, so their difference changes only if someone sets the wall
clock.
"""

from __future__ import annotations

import functools
import time
from pathlib import Path

DAY = 24 * 60 * 60
MAX_CLOCK_BACK, MAX_CLOCK_FORWARD = DAY, 366 * DAY  # seconds from one heartbeat to the next sweep
MAX_CLOCK_STEP = 10 * 60  # seconds within one boot, and between our clock and the database server's

# Seconds since this machine was started: CLOCK_BOOTTIME, or the monotonic clock where there is none.
boot_clock = (
    functools.partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)
BOOT_ID_FILE = Path("/proc/sys/kernel/random/boot_id")
UNKNOWN_BOOT = "this machine"  # not Linux: a restart shows only in a lease that ends too far in the future


@functools.cache
def boot_id() -> str:
    """Return an ID of the current boot of this machine, from which `boot_clock` counts."""
    try:
        return BOOT_ID_FILE.read_text(encoding="ascii").strip()
    except OSError:
        return UNKNOWN_BOOT


def clock_offset() -> int:
    """Return how many seconds the wall clock (since 1970 UTC) is ahead of the boot clock."""
    return round(time.time() - boot_clock())


def format_utc(seconds: int) -> str:
    """Format seconds since 1970 UTC as a date and time in UTC, to the minute."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds))


def clock_is_plausible(now: int, last_heartbeat_at: int) -> bool:
    """Return whether the wall clock can be right. After a jump, everything would be sent at once, or nothing."""
    return last_heartbeat_at - MAX_CLOCK_BACK <= now <= last_heartbeat_at + MAX_CLOCK_FORWARD
