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
    """An hour of the chart: its counts, and the heights of its three bars."""

    counted: Hour
    sent: float
    failed: float
    in_doubt: float

    @property
    def latest(self) -> str:
        """The upper bound of the longest delay, such as `up to 15 min`."""
        return _latest([self.counted])


@blueprint.get("/health")
def show() -> str:
    """Show the page. Only its button connects to another machine."""
    findings = current_services().checks.get(PROBE_TIMEOUT + 1)  # each check ends within PROBE_TIMEOUT
    settings = current_settings()
    is_down = any(finding.level == "error" and finding.subject == "database" for finding in findings)
    product, hours = (None, None) if is_down else _counted()
    every = None if hours is None else _every_hour(hours, datetime.now(UTC))
    return render_template(
        "health.html",
        findings=sorted(findings, key=lambda finding: LEVELS.index(finding.level)),
        columns=None if every is None else _columns(every),
        top=_top(every or []),
        total=_total(every or []),
        longest=_latest(every or []),
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


def _every_hour(hours: list[Hour], now: datetime) -> list[Hour]:
    """Return each of the last hours, ending with the current one. `hours` lacks those in which nothing happened."""
    counted = {hour.began_at: hour for hour in hours}
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    starts = [this_hour - timedelta(hours=age) for age in reversed(range(HOURS))]
    return [counted.get(start, Hour(start)) for start in starts]


def _columns(hours: list[Hour]) -> list[Column]:
    """Return the columns of the chart."""
    scale = HEIGHT / _top(hours)
    return [Column(hour, hour.sent * scale, hour.failed * scale, hour.in_doubt * scale) for hour in hours]


def _top(hours: list[Hour]) -> int:
    """Return the end of the chart's axis: 2, 4, 6, 8 or 10 times a power of ten."""
    most = max((hour.sent + hour.failed + hour.in_doubt for hour in hours), default=0)
    size: int = 10 ** (len(str(most)) - 1)
    return next(step * size for step in (2, 4, 6, 8, 10) if step * size >= most)


def _total(hours: list[Hour]) -> Hour:
    """Return the totals over all hours."""
    return Hour(
        datetime.now(UTC),
        sent=sum(hour.sent for hour in hours),
        failed=sum(hour.failed for hour in hours),
        in_doubt=sum(hour.in_doubt for hour in hours),
        lateness_seconds=sum(hour.lateness_seconds for hour in hours),
    )


def _latest(hours: list[Hour]) -> str:
    """Return the upper bound of the longest delay, such as `up to 15 min`, or an empty string if nothing was sent."""
    last = max((place for hour in hours for place, count in enumerate(hour.late) if count), default=None)
    if last is None:
        return ""
    return f"up to {duration(BUCKETS[last])}" if last < len(BUCKETS) else f"over {duration(BUCKETS[-1])}"


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
