"""Filters for templates. Absolute times always include their UTC offset."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from flask import Flask
from markupsafe import Markup, escape

from intake.text import printable
from monitoring.humanize import duration, pluralize
from web.services import current_settings

NEAR_DAYS = {-1: "Yesterday", 0: "Today", 1: "Tomorrow"}
COMMAND = re.compile(r"\./\w+\.sh|python task\.py(?: --[a-z-]+)*|rq worker|rqscheduler|tasklog\.log|SMTP_MAX_PER_DAY")
MINUTE, HOUR, DAY, YEAR = 60, 3_600, 86_400, 365 * 86_400  # seconds


def register(app: Flask) -> None:
    """Add the filters to the templates of `app`."""
    for filter_ in (
        clock,
        day,
        day_and_clock,
        duration,
        full_name,
        number,
        pluralize,
        printable,
        relative_time,
        rough,
        sentence,
        capitalized,
        without_folders,
    ):
        app.add_template_filter(filter_)
    app.add_template_filter(format_datetime, "datetime")
    app.add_template_filter(short_time, "when")
    app.add_template_global(zone)
    app.add_template_global(zone_words)
    app.add_template_global(setup_command)
    app.add_template_global(now, "service_time")


def zone() -> str:
    """Return the name of the service's time zone."""
    return current_settings().timezone.key


def zone_words() -> str:
    """Return the service's time zone with its current offset for a reader, such as Singapore (UTC+8)."""
    return words_of_zone(current_settings().timezone)


def words_of_zone(zone: ZoneInfo) -> str:
    """Return a time zone with its current offset for a reader, such as Singapore (UTC+8)."""
    city = zone.key.rpartition("/")[2].replace("_", " ")
    hours, _, minutes = offset(datetime.now(zone)).partition(":")
    if hours[1:] == "00" and minutes == "00":
        return city if city == "UTC" else f"{city} (UTC)"
    return f"{city} (UTC{hours[0]}{int(hours[1:])}{f':{minutes}' if minutes != '00' else ''})"


def setup_command() -> str:
    """Return the command that connects a mail server, for a terminal in the program's folder."""
    return r".venv\Scripts\flask setup" if os.name == "nt" else ".venv/bin/flask setup"


def format_datetime(moment: datetime) -> Markup:
    """Return a time in the service's zone as HTML: Wed 25 Nov 2026 09:00 +08:00, with seconds unless they are zero."""
    local = moment.astimezone(current_settings().timezone)
    return Markup('<time datetime="{}">{}</time>').format(local.isoformat(timespec="seconds"), _full(local))


def short_time(moment: datetime, *, inside: bool = False) -> Markup:
    """Return a time as HTML, in a few words: Today 18:00, or Sat 5 Dec, 10:00. The tooltip is the full time.

    `inside`: it stands inside a sentence, so it is "today 18:00".
    """
    local = moment.astimezone(current_settings().timezone)
    today = datetime.now(local.tzinfo).date()
    words = _short(local, today)
    if inside and words.startswith(tuple(NEAR_DAYS.values())):
        words = words[0].lower() + words[1:]
    return Markup('<time data-short="{}" datetime="{}" title="{}">{}</time>').format(
        "inside" if inside else "", local.isoformat(timespec="seconds"), _full(local), words
    )


def _full(local: datetime) -> str:
    clock = "%H:%M:%S" if local.second else "%H:%M"
    return f"{day(local)} {local:{clock}} {offset(local)}"


def _short(local: datetime, today: date) -> str:
    near = NEAR_DAYS.get((local.date() - today).days)
    if near:
        return f"{near} {local:%H:%M}"
    if local.year == today.year:
        return f"{local:%a} {local.day} {local:%b}, {local:%H:%M}"
    return f"{local.day} {local:%b} {local.year:04}, {local:%H:%M}"


def clock(moment: datetime) -> str:
    """Return a time of day in the service's zone, such as 09:00."""
    return f"{moment.astimezone(current_settings().timezone):%H:%M}"


def day_and_clock(moment: datetime) -> str:
    """Return a day in full and a time in the service's zone, such as Monday 30 November, 11:43."""
    local = moment.astimezone(current_settings().timezone)
    return f"{local:%A} {local.day} {local:%B}, {local:%H:%M}"


def dated(moment: datetime) -> str:
    """Return a time in its own zone that stays true: Tue 1 Dec, 09:00, with the year unless it is this one."""
    year = "" if moment.year == datetime.now(moment.tzinfo).year else f" {moment.year:04}"
    return f"{moment:%a} {moment.day} {moment:%b}{year}, {moment:%H:%M}"


def day(moment: date) -> str:
    """Return a day, such as Wed 25 Nov 2026."""
    return f"{moment:%a} {moment.day} {moment:%b} {moment.year:04}"


def offset(local: datetime) -> str:
    """Return the UTC offset of a local time, such as +08:00."""
    return local.isoformat(timespec="seconds")[19:]


def relative_time(moment: datetime) -> Markup:
    """Return a relative time as HTML: in 12 h 20 min, or 5 days ago. page.js keeps it up to date."""
    local = moment.astimezone(current_settings().timezone)
    seconds = round((moment - datetime.now(UTC)).total_seconds())
    text = f"in {rough(seconds)}" if seconds > 0 else f"{rough(-seconds)} ago" if seconds else "now"
    return Markup('<time data-relative datetime="{}" title="{}">{}</time>').format(
        local.isoformat(timespec="seconds"), _full(local), text
    )


def full_name(fields: Mapping[str, str]) -> str:
    """Return the name in someone's personal fields, or an empty string."""
    parts = (fields.get("first_name", ""), fields.get("last_name", ""))
    return " ".join((fields.get("name") or " ".join(parts)).split())


def rough(seconds: float) -> str:
    """Return a duration as precisely as people say it: 40 s, 12 min, 6 h 17 min, 30 h, 5 days, 3 years.

    Hours without minutes, days and years are rounded to the nearest.
    """
    for least, size, unit in ((2 * YEAR, YEAR, "years"), (2 * DAY, DAY, "days"), (DAY, HOUR, "h")):
        if seconds >= least:
            return f"{(seconds + size // 2) // size:,.0f} {unit}"
    if seconds >= HOUR:
        return duration(seconds // MINUTE * MINUTE)
    return f"{seconds // MINUTE:.0f} min" if seconds >= MINUTE else f"{seconds:.0f} s"


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
