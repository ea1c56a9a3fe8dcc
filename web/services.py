"""Everything that the application needs, in one typed object: `app.extensions["email_endpoint"]`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar, cast

from flask import Flask, current_app

import operations
from database import Database, Databases, Email, EmailWriter
from delivery.maildir.reader import Listing, newest
from monitoring.cached import CachedCheck
from monitoring.checks import MAIL_SERVER, QUICK, findings
from monitoring.delivery_health import problems
from monitoring.finding import Finding
from monitoring.metrics import writer
from monitoring.probe import PROBE_TIMEOUT, Probe
from monitoring.readiness import readiness_check
from schedulers.wake_ups import wake_ups_of
from settings import Settings
from web.auth.rate_limits import Limits
from web.body_limits import BodyLimits

if TYPE_CHECKING:
    from schedulers.redis_queue import WakeUps

EXTENSION = "email_endpoint"
ALERTS_CACHE_TTL = 1.0  # seconds
CHECKS_CACHE_TTL = 2.0  # seconds
OUTBOX_BACKOFF_FACTOR = 10.0  # a listing of the Maildir is cached for this many times as long as it took

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class Services:
    """Everything that the threads of one application share."""

    settings: Settings
    databases: Databases
    email_writer: EmailWriter
    wake_ups: WakeUps | None  # None with SCHEDULER=cron
    rate_limits: Limits
    body_limits: BodyLimits
    readiness: Probe[list[Finding]]
    metrics: Probe[bytes]
    alerts: Probe[list[Finding]]
    checks: CachedCheck[list[Finding]]
    mail_server_check: CachedCheck[list[Finding]]
    outbox: CachedCheck[Listing] | None  # None if EMAIL_URL does not name a Maildir

    def save_email(self, email: Email) -> None:
        """Save an email durably, in one transaction with those of concurrent requests. Raises EventIdUsed."""
        operations.save_email(self.email_writer, self.wake_ups, email, datetime.now(UTC))


def create_services(settings: Settings) -> Services:
    """Create the services. Does not open the database. Raises QueueUnavailable if packages are missing."""
    wake_ups = wake_ups_of(settings)
    maildir = settings.email_url.path
    return Services(
        settings=settings,
        databases=Databases(settings),
        email_writer=EmailWriter(settings),
        wake_ups=wake_ups,
        rate_limits=Limits(settings, wake_ups),
        body_limits=BodyLimits(),
        readiness=Probe(settings, readiness_check(settings)),
        metrics=Probe(settings, writer(settings)),
        alerts=Probe(settings, partial(problems, scheduler=settings.scheduler), ALERTS_CACHE_TTL),
        checks=CachedCheck(partial(findings, settings, QUICK, PROBE_TIMEOUT), CHECKS_CACHE_TTL),
        mail_server_check=CachedCheck(partial(findings, settings, MAIL_SERVER), CHECKS_CACHE_TTL),
        outbox=CachedCheck(partial(newest, maildir), 0, backoff_factor=OUTBOX_BACKOFF_FACTOR) if maildir else None,
    )


def register(app: Flask, settings: Settings) -> None:
    """Add the services to `app`. Raises QueueUnavailable."""
    app.extensions[EXTENSION] = create_services(settings)


def services_of(app: Flask) -> Services:
    """Return the services of `app`."""
    return cast(Services, app.extensions[EXTENSION])


def current_services() -> Services:
    """Return the services of the application that handles the current request or command."""
    return cast(Services, current_app.extensions[EXTENSION])


def warm_up(app: Flask) -> None:
    """Connect the email writer to the database, so that the first request is fast. Raises DBError."""
    services_of(app).email_writer.connect()


def current_settings() -> Settings:
    """Return the settings of the application that handles the current request or command."""
    return current_services().settings


def in_database(act: Callable[[Database], T]) -> T:
    """Call `act` with this thread's database and return its result."""
    return current_services().databases.act(act)


def perform(
    operation: Callable[Concatenate[Database, WakeUps | None, P], T], *arguments: P.args, **options: P.kwargs
) -> T:
    """Run an operation of `operations` on this thread's database, with this application's wake-ups."""
    services = current_services()
    return services.databases.act(lambda database: operation(database, services.wake_ups, *arguments, **options))
