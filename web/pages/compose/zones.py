"""The time zones in which a person may enter a time. Times elsewhere stay in the service's zone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from intake.errors import ValidationError
from web.pages.filters import words_of_zone
from web.services import current_settings

COMMON = (
    *("Pacific/Honolulu", "America/Anchorage", "America/Los_Angeles", "America/Denver", "America/Chicago"),
    *("America/New_York", "America/Halifax", "America/Bogota", "America/Sao_Paulo", "America/Argentina/Buenos_Aires"),
    *("UTC", "Europe/London", "Africa/Lagos", "Europe/Berlin", "Europe/Madrid", "Europe/Paris", "Europe/Rome"),
    *("Africa/Johannesburg", "Africa/Cairo", "Europe/Athens", "Europe/Kyiv", "Europe/Istanbul", "Africa/Nairobi"),
    *("Asia/Dubai", "Asia/Karachi", "Asia/Kolkata", "Asia/Dhaka", "Asia/Bangkok", "Asia/Jakarta", "Asia/Shanghai"),
    *("Asia/Hong_Kong", "Asia/Manila", "Asia/Singapore", "Asia/Kuala_Lumpur", "Asia/Taipei", "Australia/Perth"),
    *("Asia/Seoul", "Asia/Tokyo", "Australia/Brisbane", "Australia/Sydney", "Pacific/Auckland"),
)


class Choice(NamedTuple):
    """A zone in the picker: its name, and what people call it."""

    key: str
    words: str


def clean_zone(key: str) -> ZoneInfo:
    """Return the zone. Without a name it is the service's. Raises ValidationError."""
    own = current_settings().timezone
    if not key or key == own.key:
        return own
    if key not in COMMON:
        raise ValidationError("zone", "is not one of those offered")
    try:
        return ZoneInfo(key)
    except (ZoneInfoNotFoundError, OSError):
        reason = "cannot be used: this server has no data about it (pip install tzdata)"
        raise ValidationError("zone", reason) from None


def choices() -> list[Choice]:
    """Return the zones that this server knows: its own first, then the others from west to east."""
    own, now = current_settings().timezone, datetime.now(UTC)
    others = []
    for key in COMMON:
        try:
            others.append(clean_zone(key))
        except ValidationError:
            continue
    others.sort(key=lambda zone: now.astimezone(zone).utcoffset() or now - now)
    unique = {zone.key: zone for zone in (own, *others)}
    return [Choice(key, words_of_zone(zone)) for key, zone in unique.items()]
