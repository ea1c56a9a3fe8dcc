"""Numbers as a person says them."""

from __future__ import annotations

from datetime import timedelta

UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def span(seconds: float | timedelta) -> str:
    """A length of time: 1 d 10 h 36 min. Seconds are told below an hour only."""
    rest = round(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
    parts = []
    for unit, size in UNITS if rest < 3_600 else UNITS[:-1]:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:,} {unit}")
    return " ".join(parts) or "0 s"


def many(value: int, one: str, more: str | None = None) -> str:
    """A number with its noun: 1 recipient, 1,450 recipients, 2 deliveries (with `more`, what is no plain s)."""
    return f"{value:,} {one if value == 1 else more or one + 's'}"
