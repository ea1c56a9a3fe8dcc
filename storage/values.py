"""Values that several modules share: addresses, statuses and times."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime
from typing import NamedTuple

# All statuses of each kind of row, in the order of its life cycle.
EMAIL_STATUSES = ("scheduled", "sending", "sent", "held", "cancelled")
DELIVERY_STATUSES = ("queued", "claimed", "sending", "sent", "failed", "unknown", "cancelled")
RECIPIENT_STATUSES = ("active", "unsubscribed", "rejected")
RETRYABLE_STATUSES = ("failed", "unknown")  # of deliveries


class Address(NamedTuple):
    """A valid address. Mail is sent to `text`; two addresses with the same `key` are the same recipient."""

    text: str  # the local part as given, in NFC; the domain in lower case, as A-labels if it is international
    key: str  # the same with the local part in lower case


def name_key(name: str) -> str:
    """Return the key of a list's name. Two names with the same key are the same list: case does not count."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def moment(seconds: int) -> datetime:
    """Return seconds since 1970 UTC as an aware datetime."""
    return datetime.fromtimestamp(seconds, UTC)


def epoch_seconds(at: datetime) -> int:
    """Return an aware datetime as whole seconds since 1970 UTC."""
    return int(at.timestamp())


def moment_or_none(seconds: int | None) -> datetime | None:
    """Return seconds since 1970 UTC as an aware datetime, or None for None."""
    return None if seconds is None else moment(seconds)
