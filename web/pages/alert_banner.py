"""The banner on every page while mail does not go out. All pages share one check."""

from __future__ import annotations

from flask import Flask

from database import DatabaseUnavailable
from monitoring.finding import Finding
from web.services import current_services

CHECK_TIMEOUT = 1.0  # seconds after the start of the check; then a page shows the result before it


def register(app: Flask) -> None:
    """Give the templates of `app` the function `alerts`."""
    app.add_template_global(alerts)


def alerts() -> list[Finding]:
    """Return what is wrong with sending; nothing while the database is down, which a page says in its own way."""
    try:
        return current_services().alerts.latest(CHECK_TIMEOUT) or []
    except DatabaseUnavailable:
        return []


def alert_levels() -> list[tuple[str, str]]:
    """Return what belongs in the ETag of a page: which problems there are, but not for how long."""
    return [(finding.subject, finding.level) for finding in alerts()]
