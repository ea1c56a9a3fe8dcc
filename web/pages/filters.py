"""Filters of the templates: how values read in the pages. A time always has its UTC offset."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime

from flask import Flask
from markupsafe import Markup, escape

from intake.text import printable
from monitoring.humanize import duration, pluralize
from web.services import current_settings

COMMAND = re.compile(r"\./\w+\.sh|python task\.py(?: --[a-z-]+)*|rq worker|rqscheduler|tasklog\.log|SMTP_MAX_PER_DAY")


def register(app: Flask) -> None:
    """Give the templates of `app` the filters."""
    for filter_ in (clock, day, duration, number, pluralize, printable, relative_time, sentence):
        app.add_template_filter(filter_)
    app.add_template_filter(format_datetime, "datetime")
    app.add_template_global(zone)
    app.add_template_global(now, "service_time")


def zone() -> str:
    """The name of the service's zone."""
    return current_settings().timezone.key


def format_datetime(moment: datetime) -> Markup:
    """A time in the service's zone, as HTML: Wed 25 Nov 2026 09:00 +08:00, with the seconds where there are any."""
    local = moment.astimezone(current_settings().timezone)
    clock = "%H:%M:%S" if local.second else "%H:%M"
    text = f"{day(local)} {local:{clock}} {offset(local)}"
    return Markup('<time datetime="{}">{}</time>').format(local.isoformat(timespec="seconds"), text)


def clock(moment: datetime) -> str:
    """A time of the day in the service's zone: 09:00."""
    return f"{moment.astimezone(current_settings().timezone):%H:%M}"


def day(moment: date) -> str:
    """A day, as Wed 25 Nov 2026."""
    return f"{moment:%a} {moment.day} {moment:%b} {moment.year:04}"


def offset(local: datetime) -> str:
    """The UTC offset of a local time, as +08:00."""
    return local.isoformat(timespec="seconds")[19:]


def relative_time(moment: datetime) -> Markup:
    """The time until a moment, or since it: in 12 h 20 min, or 3 min 5 s ago. page.js keeps it right."""
    seconds = round((moment - datetime.now(UTC)).total_seconds())
    text = f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago" if seconds else "now"
    return Markup('<time data-relative datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), text)


def now() -> str:
    """The service's time now, by which page.js corrects the clock of a reader."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def number(value: int) -> str:
    """A number with its thousands separated: 1,450."""
    return f"{value:,}"


def sentence(text: str) -> Markup:
    """The text of a finding as a sentence, with the commands in it as code."""
    marked = COMMAND.sub(r"<code>\g<0></code>", str(escape(text)))
    return Markup(f"{marked[:1].upper()}{marked[1:]}.")  # noqa: S704 - escaped
