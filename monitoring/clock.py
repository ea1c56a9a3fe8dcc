"""The clock, which decides what is due."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from database import DBError, clock_is_plausible, format_utc, open_database
from monitoring.finding import Finding, error, ok, warning
from settings import Settings

WARNING_OFFSET, ERROR_OFFSET = 2.0, 60.0  # seconds between this clock and the database server's
SET_CLOCK = "set the clock, and keep it right with NTP (timedatectl set-ntp true)"
CONFIRM_CLOCK = "if it is right, run: python task.py --clock-is-right"


def check_clock(settings: Settings) -> Iterator[Finding]:
    """This machine's clock against the last sweep and the database server's clock; and the zone."""
    try:
        with open_database(settings) as database:
            last, lead = database.last_heartbeat_at(), database.clock_lead()
    except DBError:
        return  # the database's own check says so
    yield _against_last_sweep(int(time.time()), last)
    if lead is not None:
        yield _against_database(lead)
    yield zone(settings, datetime.now(UTC))


def _against_last_sweep(now: int, last: int) -> Finding:
    """Check it as every sweep does: if the clock has jumped, nothing is sent."""
    if clock_is_plausible(now, last):
        return ok("clock", f"{format_utc(now)}, not far from the last sweep")
    remedy = f"{SET_CLOCK}; {CONFIRM_CLOCK}"
    return error(
        "clock", f"it says {format_utc(now)}, but the last sweep was on {format_utc(last)}: nothing is sent", remedy
    )


def _against_database(lead: float) -> Finding:
    """`lead`: seconds by which the database server is ahead of this machine."""
    text = f"the database server's clock is {abs(lead):.1f} s {'ahead of' if lead > 0 else 'behind'} this machine's"
    if abs(lead) < WARNING_OFFSET:
        return ok("clock", text)
    return (error if abs(lead) >= ERROR_OFFSET else warning)("clock", text, f"on both machines: {SET_CLOCK}")


def zone(settings: Settings, now: datetime) -> Finding:
    """In which zone a timestamp without an offset is read."""
    offset = now.astimezone(settings.timezone).strftime("%z")
    return ok("zone", f"timestamps are read in {settings.timezone.key} (UTC{offset[:3]}:{offset[3:]} now)")
