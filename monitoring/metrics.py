"""The metrics for Prometheus. All of them come from the database, because the senders are other processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import accumulate

from prometheus_client import generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from database import BUCKETS, CLOCK, MAIL_SERVER, Database, Totals
from monitoring.delivery_health import OVERDUE_AFTER, STALLED_AFTER
from settings import Settings
from settings.version import __version__

PREFIX = "email_endpoint_"


class Families(Collector):
    """Metrics that are collected already, for `generate_latest`."""

    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        yield from self._families


def writer(settings: Settings) -> Callable[[Database], bytes]:
    """Return a function that renders the metrics of a database in Prometheus' text format."""
    return lambda database: generate_latest(Families([*collect(database, settings)]))


def collect(database: Database, settings: Settings) -> Iterator[Metric]:
    """Yield the metrics of this service, as docs/monitoring.md lists them."""
    kind = "sqlite" if settings.database_path else "postgresql"
    build = {"version": __version__, "database": kind}
    yield InfoMetricFamily(f"{PREFIX}build", "Program version and database type.", value=build)
    yield _by_label("emails", "Emails by status.", "status", database.emails.counts())
    yield _by_label("recipients", "Recipients by status.", "status", database.recipients.counts())
    yield from _waiting(database, datetime.now(UTC).replace(microsecond=0))
    yield from _counted(database.health.totals())
    sweeps = database.health.sweeps()
    yield SummaryMetricFamily(
        f"{PREFIX}sweep_seconds",
        "Duration of sweeps that had work.",
        count_value=sweeps.sweeps,
        sum_value=sweeps.milliseconds / 1000,
    )
    yield _gauge("database_bytes", "Database size on disk.", database.health.size())


def _waiting(database: Database, now: datetime) -> Iterator[Metric]:
    health = database.health
    overdue = health.overdue(now - OVERDUE_AFTER)
    oldest = now - (overdue.since or now)
    stalled = health.stalled(now - STALLED_AFTER)
    yield _gauge("overdue_emails", "Overdue emails, counted up to 10,000.", overdue.emails)
    yield _gauge("overdue_oldest_seconds", "Age of the oldest overdue email, in seconds.", oldest.total_seconds())
    yield _gauge("stalled_emails", "Emails being sent that make no progress.", stalled.emails)
    heartbeat_age = now - health.heartbeat_at()
    yield _gauge("heartbeat_age_seconds", "Seconds since the last sweep.", heartbeat_age.total_seconds())
    yield _gauge("senders", "Running senders.", health.at_work().senders)
    errors = dict.fromkeys((MAIL_SERVER, CLOCK), 0.0) | {
        # Not 0 within the first second, nor below 0 after the clock has been set back.
        error.kind: max((now - error.since).total_seconds(), 1.0)
        for error in database.sender_errors.current()
    }
    text = "Seconds for which an error of this kind has stopped all sending; 0 if there is no such error."
    yield _by_label("sender_error_seconds", text, "kind", errors)


def _counted(totals: Totals) -> Iterator[Metric]:
    attempts = CounterMetricFamily(f"{PREFIX}deliveries", "Delivery attempts by outcome.", labels=["outcome"])
    for outcome, count in totals.outcomes.items():
        attempts.add_metric([outcome], count)
    yield attempts
    bounds = [*(f"{seconds}.0" for seconds in BUCKETS), "+Inf"]
    yield HistogramMetricFamily(
        f"{PREFIX}lateness_seconds",
        "Delay from the due time, or from submission if that was later, to the mail server's acceptance.",
        buckets=list(zip(bounds, accumulate(totals.late), strict=True)),
        sum_value=totals.lateness_seconds,
    )
    deferrals = CounterMetricFamily(
        f"{PREFIX}deferrals", "Deferred deliveries by reply code; none means the connection failed.", labels=["code"]
    )
    for code, times in totals.deferrals.items():
        deferrals.add_metric([code], times)
    yield deferrals


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _by_label(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=[label])
    for value, count in values.items():
        family.add_metric([value], count)
    return family
