"""Filters for templates. Absolute times always include their UTC offset."""

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
    """Add the filters to the templates of `app`."""
    for filter_ in (
        clock,
        day,
        duration,
        number,
        pluralize,
        printable,
        relative_time,
        sentence,
        capitalized,
        without_folders,
    ):
        app.add_template_filter(filter_)
    app.add_template_filter(format_datetime, "datetime")
    app.add_template_global(zone)
    app.add_template_global(now, "service_time")


def zone() -> str:
    """Return the name of the service's time zone."""
    return current_settings().timezone.key


def format_datetime(moment: datetime) -> Markup:
    """Return a time in the service's zone as HTML: Wed 25 Nov 2026 09:00 +08:00, with seconds unless they are zero."""
    local = moment.astimezone(current_settings().timezone)
    clock = "%H:%M:%S" if local.second else "%H:%M"
    text = f"{day(local)} {local:{clock}} {offset(local)}"
    return Markup('<time datetime="{}">{}</time>').format(local.isoformat(timespec="seconds"), text)


def clock(moment: datetime) -> str:
    """Return a time of day in the service's zone, such as 09:00."""
    return f"{moment.astimezone(current_settings().timezone):%H:%M}"


def day(moment: date) -> str:
    """Return a day, such as Wed 25 Nov 2026."""
    return f"{moment:%a} {moment.day} {moment:%b} {moment.year:04}"


def offset(local: datetime) -> str:
    """Return the UTC offset of a local time, such as +08:00."""
    return local.isoformat(timespec="seconds")[19:]


def relative_time(moment: datetime) -> Markup:
    """Return a relative time as HTML: in 12 h 20 min, or 3 min 5 s ago. page.js keeps it up to date."""
    seconds = round((moment - datetime.now(UTC)).total_seconds())
    text = f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago" if seconds else "now"
    return Markup('<time data-relative datetime="{}">{}</time>').format(moment.isoformat(timespec="seconds"), text)


def now() -> str:
    """Return the current time of the service, which page.js uses to correct for the reader's clock."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def number(value: int) -> str:
    """Return a number with thousands separators, such as 1,450."""
    return f"{value:,}"


def without_folders(text: str) -> str:
    """Remove the folders of this service from a text: readers of a page do not know them. /health shows them."""
    settings = current_settings()
    files = (settings.email_url.path, settings.database_path)
    folders = {settings.folder, settings.data_dir, *(file.parent for file in files if file)}
    for folder in sorted(map(str, folders), key=len, reverse=True):
        text = text.replace(f"{folder}/", "") if folder != "/" else text
    return text


def sentence(text: str) -> Markup:
    """Return the text of a finding as a sentence, with commands marked up as code."""
    marked = COMMAND.sub(r"<code>\g<0></code>", str(escape(capitalized(text))))
    return Markup(f"{marked}.")  # noqa: S704 - escaped


def capitalized(text: str) -> str:
    """Return the text with a capital first letter, unless it begins with the name of a file or a host."""
    return text if "." in text.partition(" ")[0] else text[:1].upper() + text[1:]
