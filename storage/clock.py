"""The clock that leases are judged by on one host: it counts sleep, and no step of the wall clock touches it."""

from __future__ import annotations

import functools
import time
from pathlib import Path

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
