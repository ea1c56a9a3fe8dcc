"""Check the wall clock. It decides which emails are due: a wrong one would send everything at once, or nothing.

There are three checks. Within one boot, the wall clock must have advanced as far as the boot clock since a sweep last
recorded the offset between them. With PostgreSQL, it must agree with the server's clock. In any case, it must not be
far from the time of the last sweep.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from storage import counters
from storage.clock import (
    DAY,
    MAX_CLOCK_STEP,
    UNKNOWN_BOOT,
    boot_clock,
    boot_id,
    clock_is_plausible,
    clock_offset,
)
from storage.connection import Connection

KEEP_OFFSETS_FOR = 400 * DAY  # the offsets of earlier boots

SELECT_OFFSET = "SELECT offset_seconds FROM host_clocks WHERE boot_id = :boot_id"
RECORD_OFFSET = """
INSERT INTO host_clocks (boot_id, offset_seconds, recorded_at) VALUES (:boot_id, :offset, :now)
ON CONFLICT (boot_id) DO UPDATE SET offset_seconds = excluded.offset_seconds, recorded_at = excluded.recorded_at
"""
DELETE_OLD_OFFSETS = "DELETE FROM host_clocks WHERE recorded_at < :before"
SET_HEARTBEAT = "UPDATE counters SET value = :now WHERE name = 'last_sweep_at'"


class WrongClock(NamedTuple):
    """Evidence that the wall clock is wrong. Both times are in seconds since 1970 UTC."""

    now: int  # the wall clock
    expected: int  # what the wall clock should be, or the time of the last sweep
    compared_with: str  # "boot clock", "database server" or "last sweep"


class Clocks:
    """The clocks of this machine and of the database server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def heartbeat_at(self) -> int:
        """Return when a sweep last checked the database, or when it was created if none has."""
        return counters.read(self._connection, "last_sweep_at") or 0

    def record(self, now: int) -> None:
        """Record that a sweep checked the database at `now`, and found the clock right."""
        with self._connection.transaction():
            self._connection.execute(SET_HEARTBEAT, now=now)
            self._connection.execute(DELETE_OLD_OFFSETS, before=now - KEEP_OFFSETS_FOR)
            self._connection.execute(RECORD_OFFSET, boot_id=boot_id(), offset=clock_offset(), now=now)

    def expected_offset(self) -> int | None:
        """Return the `clock_offset` that was recorded in this boot, or None if there is no reliable one."""
        if boot_id() == UNKNOWN_BOOT:
            return None
        row = self._connection.fetch_one(SELECT_OFFSET, boot_id=boot_id())
        return int(row[0]) if row else None

    def server_lead(self) -> float | None:
        """Return how many seconds the database server's clock is ahead of ours, or None if there is no server."""
        reading = self._connection.lease_time()
        return reading.milliseconds / 1000 - time.time() if reading.clock == "postgresql" else None

    def check(self) -> WrongClock | None:
        """Return evidence that the wall clock is wrong, or None."""
        now, offset = int(time.time()), self.expected_offset()
        if offset is not None and not offset_is_right(offset):
            return WrongClock(now, offset + round(boot_clock()), "boot clock")
        lead = self.server_lead()
        if lead is not None and abs(lead) > MAX_CLOCK_STEP:
            return WrongClock(now, now + round(lead), "database server")
        last = self.heartbeat_at()
        return None if clock_is_plausible(now, last) else WrongClock(now, last, "last sweep")


def offset_is_right(expected: int) -> bool:
    """Return whether the wall clock has not been changed since `expected` was recorded in this boot."""
    return abs(clock_offset() - expected) <= MAX_CLOCK_STEP
