"""What every page says while mail does not go out: looked at once in a few seconds, however many pages are shown."""

from __future__ import annotations

from flask import Flask

from database import DatabaseUnavailable
from monitoring.finding import Finding
from web.services import current_services

CHECK_TIMEOUT = 1.0  # seconds after the start of the check; then a page shows the result before it


def register(app: Flask) -> None:
    """Give the templates of `app` the function `alarm`."""
    app.add_template_global(alarm)


def alarm() -> list[Finding]:
    """What is wrong with the sending of mail; nothing while that cannot be known, which a page says in its own way."""
    try:
        return current_services().alerts.latest(CHECK_TIMEOUT) or []
    except DatabaseUnavailable:
        return []


def kinds() -> list[tuple[str, str]]:
    """What makes a page another one: not for how long it has been wrong."""
    return [(finding.subject, finding.level) for finding in alarm()]
