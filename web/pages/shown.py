"""How values read in the pages: filters of the templates. A time always has its offset, a distance is exact."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from flask import Flask
from markupsafe import Markup

from web.context import current_settings
from web.printable import printable

UNITS = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def register(app: Flask) -> None:
    """Give the templates of `app` the filters."""
    for filter_ in (instant, distance, span, number, many, printable):
        app.add_template_filter(filter_)
    app.add_template_global(zone)


def zone() -> str:
    """The name of the service's zone."""
    return current_settings().timezone.key


def instant(moment: datetime) -> Markup:
    """A time in the service's zone, as HTML: Wed 25 Nov 2026 09:00 +08:00, with the seconds where there are any."""
    local = moment.astimezone(current_settings().timezone)
    clock = "%H:%M:%S" if local.second else "%H:%M"
    text = f"{local:%a} {local.day} {local:%b} {local.year:04} {local:{clock}} {offset(local)}"
    return Markup('<time datetime="{}">{}</time>').format(local.isoformat(timespec="seconds"), text)


def offset(local: datetime) -> str:
    """The distance of a zone from UTC, as +08:00."""
    return local.isoformat(timespec="seconds")[19:]


def distance(moment: datetime) -> str:
    """How far it is from now: in 12 h 20 min, or 3 min 5 s ago."""
    seconds = round((moment - datetime.now(UTC)).total_seconds())
    if seconds == 0:
        return "now"
    return f"in {span(seconds)}" if seconds > 0 else f"{span(-seconds)} ago"


def span(seconds: float | timedelta) -> str:
    """A length of time: 1 d 10 h 36 min. Seconds are told below an hour only."""
    rest = round(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)
    parts = []
    for unit, size in UNITS if rest < 3_600 else UNITS[:-1]:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count:,} {unit}")
    return " ".join(parts) or "0 s"


def number(value: int) -> str:
    """1,450."""
    return f"{value:,}"


def many(value: int, one: str, more: str | None = None) -> str:
    """A number with its noun: 1 recipient, 1,450 recipients, 2 deliveries (with `more`, what is no plain s)."""
    return f"{value:,} {one if value == 1 else more or one + 's'}"
