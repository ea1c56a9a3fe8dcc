"""/health: what `flask check` finds, the last 24 hours, and the settings. It answers without its database, too."""

from __future__ import annotations

import platform
import time
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from typing import NamedTuple, cast

from flask import Blueprint, Flask, current_app, flash, redirect, render_template, url_for
from werkzeug.wrappers import Response

from database import BUCKETS, Database, DatabaseUnavailable, Hour
from intake.text import printable
from monitoring.cached import Look
from monitoring.checks import LIMIT, MAIL_SERVER, QUICK, Finding, findings
from settings import Settings
from settings.version import __version__
from web.auth import sessions
from web.services import current_settings, in_database

HOURS = 24
HEIGHT = 100  # of the chart's tallest column
FRESH = 2.0  # seconds for which what was found is shown again
PATIENCE = 7.0  # seconds for the checks of a page: longer than a writer is waited for
LONGEST = 600  # characters of what a server said; it goes through a cookie
LEVELS = ("error", "warning", "ok")
blueprint = Blueprint("health", __name__)


class Column(NamedTuple):
    """An hour of the chart: what it counted, and the heights of its two parts."""

    counted: Hour
    began_at: datetime
    sent: float
    wrong: float

    @property
    def latest(self) -> str:
        """The bound under which the latest of those that were sent was."""
        last = max((place for place, count in enumerate(self.counted.late) if count), default=None)
        if last is None:
            return ""
        return f"up to {BUCKETS[last]} s" if last < len(BUCKETS) else f"over {BUCKETS[-1]} s"


def register(app: Flask) -> None:
    """Give `app` its looks."""
    settings: Settings = app.extensions["settings"]
    app.extensions["findings"] = Look(partial(findings, settings, QUICK, PATIENCE), FRESH)
    app.extensions["mail_server"] = Look(partial(findings, settings, MAIL_SERVER), FRESH)


@blueprint.get("/health")
def show() -> str:
    """All of it. What opens a connection to another machine is done only by the button."""
    found = _look("findings", PATIENCE)
    settings = current_settings()
    away = any(finding.level == "error" and finding.subject == "database" for finding in found)
    product, hours = (None, None) if away else _counted()
    return render_template(
        "health.html",
        found=sorted(found, key=lambda finding: LEVELS.index(finding.level)),
        columns=None if hours is None else _columns(hours, int(time.time()) // 3600),
        versions=_versions(product),
        settings=settings,
        may_test=settings.email_url.path is None and _may_have_forms(),
    )


@blueprint.post("/health/mail-server")
def test_mail_server() -> Response:
    """Log in to the mail server and leave; one connection, however many press the button."""
    for finding in _look("mail_server", LIMIT):
        remedy = f" To mend it: {finding.remedy}." if finding.remedy else ""
        flash(printable(f"{finding.text[:1].upper()}{finding.text[1:]}.{remedy}", LONGEST), finding.level)
    return redirect(url_for(".show"), 303)


def _look(name: str, limit: float) -> list[Finding]:
    """Each check ends in `limit` seconds, so that the look does."""
    return cast("Look[list[Finding]]", current_app.extensions[name]).see(limit + 1)


def _counted() -> tuple[str | None, list[Hour] | None]:
    """The database's program, and its last hours; nothing if it has just gone."""
    first = int(time.time()) // 3600 - HOURS + 1

    def look(database: Database) -> tuple[str, list[Hour]]:
        return database.connection.server_version(), database.health.hours(first)

    try:
        return in_database(look)
    except DatabaseUnavailable:
        return None, None


def _columns(hours: list[Hour], now: int) -> list[Column]:
    """A column for each of the last hours, the present one last."""
    counted = {hour.hour: hour for hour in hours}
    every = [counted.get(hour, Hour(hour)) for hour in range(now - HOURS + 1, now + 1)]
    scale = HEIGHT / max(1, *(hour.sent + _wrong(hour) for hour in every))
    return [
        Column(hour, datetime.fromtimestamp(hour.hour * 3600, UTC), hour.sent * scale, _wrong(hour) * scale)
        for hour in every
    ]


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
    """Whether a form can be signed: not when this process has never reached its database."""
    try:
        return bool(sessions.secret_key())
    except DatabaseUnavailable:
        return False
