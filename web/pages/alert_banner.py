"""What every page says while mail does not go out: looked at once in a few seconds, however many pages are shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from flask import Flask, current_app

from database import Database, DatabaseUnavailable
from monitoring.delivery_health import judge
from monitoring.finding import Finding
from monitoring.probe import Probe
from settings import Settings

FRESH = 5.0  # seconds
PATIENCE = 1.0  # seconds after the beginning of a look for which pages wait for its end


def register(app: Flask) -> None:
    """Give `app` its look, and the templates `alarm`."""
    settings: Settings = app.extensions["settings"]
    app.extensions["alarm"] = Probe(settings, _looker(settings), FRESH)
    app.add_template_global(alarm)


def alarm() -> list[Finding]:
    """What is wrong with the sending of mail; nothing while that cannot be known, which a page says in its own way."""
    try:
        return cast("Probe[list[Finding]]", current_app.extensions["alarm"]).glance(PATIENCE) or []
    except DatabaseUnavailable:
        return []


def kinds() -> list[tuple[str, str]]:
    """What makes a page another one: not for how long it has been wrong."""
    return [(finding.subject, finding.level) for finding in alarm()]


def _looker(settings: Settings) -> Callable[[Database], list[Finding]]:
    def look(database: Database) -> list[Finding]:
        found = judge(database, settings.scheduler, int(time.time()))
        return [finding for finding in found if finding.level != "ok"]

    return look
