"""Small values that several nouns share: addresses, statuses and times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

# Every status that a row can have, in the order of its life.
EMAIL_STATUSES = ("scheduled", "sending", "sent", "held", "cancelled")
DELIVERY_STATUSES = ("queued", "claimed", "sending", "sent", "failed", "unknown", "cancelled")
RECIPIENT_STATUSES = ("active", "unsubscribed", "rejected")
RETRYABLE_STATUSES = ("failed", "unknown")  # of deliveries


class Address(NamedTuple):
    """A valid address: mail is sent to `text`, and two addresses with the same `key` are the same recipient."""

    text: str  # local part as it was given, in NFC; domain in lower case, an international one as A-label
    key: str  # the same with the local part in lower case


def moment(seconds: int) -> datetime:
    """Return seconds since 1970 UTC as an aware time."""
    return datetime.fromtimestamp(seconds, UTC)


def epoch_seconds(at: datetime) -> int:
    """Return an aware time as whole seconds since 1970 UTC."""
    return int(at.timestamp())


def moment_or_none(seconds: int | None) -> datetime | None:
    """Return seconds since 1970 UTC as an aware time, or None for None."""
    return None if seconds is None else moment(seconds)
