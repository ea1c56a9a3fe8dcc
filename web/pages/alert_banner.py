"""Whether mail is going out: the dot in the top bar, and the banner on every page while it is not.

All pages share one check.
"""

from __future__ import annotations

from typing import NamedTuple

from flask import Flask

from database import DatabaseUnavailable
from monitoring.finding import Finding
from web.services import current_services, services_of

CHECK_TIMEOUT = 1.0  # seconds after the start of the check; after that, a page shows the previous result


class ServiceState(NamedTuple):
    """The state of the service in a few words, with its tone and icon. Without an icon it is a dot."""

    words: str
    tone: str
    icon: str = ""


RUNNING = ServiceState("Running", "good")
PRACTICE = ServiceState("Practice mode", "warn", "shield")
UNKNOWN = ServiceState("Health", "", "pulse")
DATABASE_DOWN = ServiceState("Database unavailable", "bad", "alert")
STATES = {  # by the subject of a finding
    "sender": ServiceState("Emails are not being sent", "bad", "alert"),
    "overdue": ServiceState("Emails are overdue", "bad", "alert"),
    "stalled": ServiceState("Emails are stalled", "bad", "alert"),
}


def register(app: Flask) -> None:
    """Add the functions `alerts` and `service_state` to the templates of `app`, and `has_outbox`."""
    app.add_template_global(alerts)
    app.add_template_global(service_state)
    app.jinja_env.globals["has_outbox"] = services_of(app).outbox is not None


def alerts() -> list[Finding]:
    """Return the problems with sending, or nothing while the database is down, which pages report themselves."""
    try:
        return current_services().alerts.latest(CHECK_TIMEOUT) or []
    except DatabaseUnavailable:
        return []


def alert_levels() -> list[tuple[str, str]]:
    """Return the part of the alerts that belongs in the ETag of a page: which problems exist, but not for how long."""
    return [(finding.subject, finding.level) for finding in alerts()]


def service_state() -> ServiceState:
    """Return what the top bar says."""
    services = current_services()
    try:
        found = services.alerts.latest(CHECK_TIMEOUT)
    except DatabaseUnavailable:
        return DATABASE_DOWN
    if found:
        return STATES[found[0].subject]
    if services.outbox is not None:
        return PRACTICE
    return UNKNOWN if found is None else RUNNING
