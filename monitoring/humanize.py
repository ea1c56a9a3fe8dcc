"""Numbers, sizes and durations as text."""

from __future__ import annotations

from datetime import timedelta

UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def duration(seconds: float | timedelta) -> str:
    """Return a duration such as `1 d 10 h 36 min`. Seconds are shown only below an hour."""
    remaining = round(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
    parts = []
    for unit, size in UNITS if remaining < 3_600 else UNITS[:-1]:
        count, remaining = divmod(remaining, size)
        if count:
            parts.append(f"{count:,} {unit}")
    return " ".join(parts) or "0 s"


def file_size(octets: int) -> str:
    """Return a size such as `10 MB`, `1.5 MB` or `900 bytes`. 1 MB is 1,000,000 bytes, as in the settings."""
    for unit, size in (("GB", 1000**3), ("MB", 1000**2), ("kB", 1000)):
        if octets >= size:
            return f"{octets / size:.1f}".removesuffix(".0") + f" {unit}"
    return pluralize(octets, "byte")


def pluralize(value: int, singular: str, plural: str | None = None) -> str:
    """Return a number with its noun: `1 recipient`, `1,450 recipients`. `plural` is for irregular nouns."""
    return f"{value:,} {singular if value == 1 else plural or singular + 's'}"
