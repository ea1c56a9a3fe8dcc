"""Check the clock, which decides what is due, and show the time zone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from database import DBError, format_utc, open_database
from monitoring.finding import Finding, error, ok, warning
from sender.clock_check import SET_CLOCK, describe, remedy_for
from settings import Settings

WARNING_OFFSET, ERROR_OFFSET = 2.0, 60.0  # seconds between this clock and the database server's


def check_clock(settings: Settings) -> Iterator[Finding]:
    """Compare this machine's clock with the last sweep and the database server; also show the time zone."""
    try:
        with open_database(settings) as database:
            wrong, lead = database.clocks.check(), database.clocks.server_lead()
    except DBError:
        return  # check_database reports it
    if wrong is None:
        yield ok("clock", f"{format_utc(int(time.time()))}, consistent with the last check")
    else:
        yield error("clock", describe(wrong), remedy_for(describe(wrong)))
    if lead is not None:
        yield _against_database(lead)
    yield zone(settings, datetime.now(UTC))


def _against_database(lead: float) -> Finding:
    """`lead` is the number of seconds by which the database server is ahead of this machine."""
    text = f"the database server's clock is {abs(lead):.1f} s {'ahead of' if lead > 0 else 'behind'} this machine's"
    if abs(lead) < WARNING_OFFSET:
        return ok("clock", text)
    return (error if abs(lead) >= ERROR_OFFSET else warning)("clock", text, f"on both machines: {SET_CLOCK}")


def zone(settings: Settings, now: datetime) -> Finding:
    """Return the zone in which a timestamp without an offset is read."""
    offset = now.astimezone(settings.timezone).strftime("%z")
    return ok("zone", f"timestamps are in {settings.timezone.key} (currently UTC{offset[:3]}:{offset[3:]})")
