"""Check the wall clock before a sweep: with a wrong clock, it would send everything at once, or nothing."""

from __future__ import annotations

import time

from database import CLOCK, HEARTBEAT_SECONDS, Database, WrongClock, format_utc
from sender.shutdown import StopRequest
from sender.task_log import TaskLog
from sender.work_queue import retry_while_busy

SET_CLOCK = "set the clock and enable NTP (timedatectl set-ntp true)"
CONFIRM_CLOCK = "if the clock is right, run: python task.py --clock-is-right"
SET_CLOCKS = "set the clocks of both machines and enable NTP (timedatectl set-ntp true)"

EXPECTED = {
    "boot clock": "but judging by the time since the last sweep, it should say {}",
    "database server": "but the database server's clock says {}",
    "last sweep": "but the last sweep was on {}",
}


def describe(wrong: WrongClock) -> str:
    """Return what is wrong with the clock, as a sentence without a full stop."""
    expected = EXPECTED[wrong.compared_with].format(format_utc(wrong.expected))
    return f"the clock says {format_utc(wrong.now)}, {expected}; nothing is sent"


def remedy_for(reason: str) -> str:
    """Return how to fix the clock, given the reason that `describe` returned."""
    return SET_CLOCKS if "database server" in reason else f"{SET_CLOCK}; {CONFIRM_CLOCK}"


def clock_is_right(database: Database, tasklog: TaskLog, stop: StopRequest) -> bool:
    """Return whether the clock is right. If so, also record a heartbeat for this sweep.

    A wrong clock is logged once, and is recorded as a sender error until it is right again.
    """
    wrong = database.clocks.check()
    if wrong is not None:
        reason = describe(wrong)
        is_new = retry_while_busy(stop, database.sender_errors.record, CLOCK, reason, wrong.now)
        (tasklog.error if is_new else tasklog.repeat)(f"{reason} ({remedy_for(reason)})")
        return False
    retry_while_busy(stop, database.sender_errors.clear, CLOCK)
    now = int(time.time())
    if now - database.last_heartbeat_at() >= HEARTBEAT_SECONDS or database.clocks.expected_offset() is None:
        retry_while_busy(stop, database.record_heartbeat, now)
    return True
