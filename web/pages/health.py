"""/health: what `flask check` finds, the last 24 hours, and the settings.

It works without the database too, unless a session has to be checked, which needs the database.
"""

from __future__ import annotations

import platform
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import NamedTuple

from flask import Blueprint, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from database import BUCKETS, Database, DatabaseUnavailable, Hour
from intake.text import printable
from monitoring.checks import CHECK_TIMEOUT
from monitoring.humanize import duration
from monitoring.probe import PROBE_TIMEOUT
from settings.catalogue import SETTINGS
from settings.version import __version__
from web.auth import sessions
from web.pages.filters import capitalized
from web.services import current_services, current_settings, in_database

HOURS = 24
HEIGHT = 100  # of the chart's tallest column
MAX_FLASH_LENGTH = 600  # characters; flash messages are stored in a cookie
LEVELS = ("error", "warning", "ok")
blueprint = Blueprint("health", __name__)


class Column(NamedTuple):
    """An hour of the chart: its counts, and the heights of its two bars."""

    counted: Hour
    sent: float
    wrong: float

    @property
    def latest(self) -> str:
        """The upper bound of the longest delay, such as `up to 15 min`."""
        last = max((place for place, count in enumerate(self.counted.late) if count), default=None)
        if last is None:
            return ""
        return f"up to {duration(BUCKETS[last])}" if last < len(BUCKETS) else f"over {duration(BUCKETS[-1])}"


@blueprint.get("/health")
def show() -> str:
    """Show the page. Only its button connects to another machine."""
    findings = current_services().checks.get(PROBE_TIMEOUT + 1)  # each check ends within PROBE_TIMEOUT
    settings = current_settings()
    is_down = any(finding.level == "error" and finding.subject == "database" for finding in findings)
    product, hours = (None, None) if is_down else _counted()
    return render_template(
        "health.html",
        findings=sorted(findings, key=lambda finding: LEVELS.index(finding.level)),
        columns=None if hours is None else _columns(hours, datetime.now(UTC)),
        versions=_versions(product),
        settings=settings,
        descriptions=SETTINGS,
        may_test=settings.email_url.path is None and _may_have_forms(),
    )


@blueprint.post("/health/mail-server")
def test_mail_server() -> Response:
    """Log in to the mail server and quit, on one connection at a time, however many people press the button."""
    for finding in current_services().mail_server_check.get(CHECK_TIMEOUT + 1):
        remedy = f" To fix this: {finding.remedy}." if finding.remedy else ""
        flash(printable(f"{capitalized(finding.text)}.{remedy}", MAX_FLASH_LENGTH), finding.level)
    return redirect(url_for(".show"), 303)


def _counted() -> tuple[str | None, list[Hour] | None]:
    """Return the version of the database and its last hours, or None if it has just become unavailable."""
    since = datetime.now(UTC) - timedelta(hours=HOURS - 1)

    def read(database: Database) -> tuple[str, list[Hour]]:
        return database.connection.server_version(), database.health.hours(since)

    try:
        return in_database(read)
    except DatabaseUnavailable:
        return None, None


def _columns(hours: list[Hour], now: datetime) -> list[Column]:
    """Return a column for each of the last hours, ending with the current one."""
    counted = {hour.began_at: hour for hour in hours}
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    starts = [this_hour - timedelta(hours=age) for age in reversed(range(HOURS))]
    every = [counted.get(start, Hour(start)) for start in starts]
    scale = HEIGHT / max(1, *(hour.sent + _wrong(hour) for hour in every))
    return [Column(hour, hour.sent * scale, _wrong(hour) * scale) for hour in every]


def _wrong(hour: Hour) -> int:
    return hour.failed + hour.in_doubt


def _versions(product: str | None) -> list[tuple[str, str]]:
    name, _, number = (product or "").partition(" ")
    database = [(name, number)] if product else []
    return [
        ("email-endpoint", __version__),
        ("Python", platform.python_version()),
        *database,
        ("Flask", version("flask")),
    ]


def _may_have_forms() -> bool:
    """Return whether a form can be signed. It cannot if this process has never reached the database."""
    try:
        return bool(sessions.secret_key())
    except DatabaseUnavailable:
        return False
