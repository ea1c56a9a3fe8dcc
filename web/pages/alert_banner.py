"""The banner on every page while mail is not going out. All pages share one check."""

from __future__ import annotations

from flask import Flask

from database import DatabaseUnavailable
from monitoring.finding import Finding
from web.services import current_services

CHECK_TIMEOUT = 1.0  # seconds after the start of the check; after that, a page shows the previous result


def register(app: Flask) -> None:
    """Add the function `alerts` to the templates of `app`."""
    app.add_template_global(alerts)


def alerts() -> list[Finding]:
    """Return the problems with sending, or nothing while the database is down, which pages report themselves."""
    try:
        return current_services().alerts.latest(CHECK_TIMEOUT) or []
    except DatabaseUnavailable:
        return []


def alert_levels() -> list[tuple[str, str]]:
    """Return the part of the alerts that belongs in the ETag of a page: which problems exist, but not for how long."""
    return [(finding.subject, finding.level) for finding in alerts()]
