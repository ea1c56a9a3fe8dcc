"""The speed at which an email is being sent, and the time left."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from database import Database, EmailSummary
from monitoring.humanize import duration
from web.pages.email.wording import in_mode

# Without a delivery for this long, or for three times the average interval, the time left is not estimated.
IDLE_AFTER = timedelta(seconds=15)
MAX_IDLE = timedelta(minutes=1)


class Sending(NamedTuple):
    """An email being sent, whether a message was delivered recently, and when the delayed ones are retried."""

    email: EmailSummary
    moves: bool
    again_at: datetime | None


def pace(sending: Sending) -> str:
    """Return the average speed, and the time left at that speed if it can be estimated."""
    email = sending.email
    if email.first_sent_at is None or email.last_sent_at is None:
        return in_mode("no replies yet", "nothing saved yet")
    rate, left = _rate(email.sent / _seconds(email)), time_left(sending)
    return rate if left is None else f"{rate}, about {duration(left.total_seconds())} left"


def time_left(sending: Sending) -> timedelta | None:
    """Return the time left at the average speed, or None if it cannot be estimated."""
    email = sending.email
    if not sending.moves or sending.again_at is not None:
        return None
    return timedelta(seconds=email.unfinished * _seconds(email) / max(email.sent, 1))


def _seconds(email: EmailSummary) -> float:
    """Return the seconds from the first delivery to the last, at least 1."""
    if email.first_sent_at is None or email.last_sent_at is None:
        return 1
    return max((email.last_sent_at - email.first_sent_at).total_seconds(), 1)


def _rate(per_second: float) -> str:
    for unit, size in (("s", 1), ("min", 60)):
        if per_second * size >= 10:
            return f"{per_second * size:,.0f}/{unit}"
    return f"{per_second * 3600:,.0f}/h"


def read_sending(database: Database, email: EmailSummary, now: datetime) -> Sending:
    """Read when the delayed deliveries of an email are retried."""
    next_at = database.deliveries.next_of(email.event_id) if email.deliveries == email.expected else None
    return Sending(email, _moves(email, now), next_at if next_at is not None and next_at > now else None)


def _moves(email: EmailSummary, now: datetime) -> bool:
    if email.first_sent_at is None or email.last_sent_at is None:
        return False
    usual = 3 * (email.last_sent_at - email.first_sent_at) / max(email.sent, 1)
    return now - email.last_sent_at <= min(max(IDLE_AFTER, usual), MAX_IDLE)
