"""Check that something starts sweeps (cron, a watcher or the Redis queue), and that mail is going out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from database import DBError, open_database
from monitoring.delivery_health import LATE_AFTER, START_SENDER, check_delivery_health
from monitoring.finding import Finding, error, ok, warning
from monitoring.humanize import pluralize
from schedulers.cron import install
from schedulers.cron.crontab_file import CronError
from schedulers.errors import QueueUnavailable
from schedulers.wake_ups import wake_ups_of
from settings import Settings


def check_sending(settings: Settings) -> Iterator[Finding]:
    """Check whether mail is going out, and what starts sweeps."""
    swept = False
    try:
        with open_database(settings) as database:
            now = datetime.now(UTC)
            swept = now - database.health.heartbeat_at() < LATE_AFTER["cron"]
            yield from check_delivery_health(database, settings.scheduler, now)
            yield from _held(database.emails.counts()["held"])
    except DBError:
        pass  # check_database reports it
    if settings.scheduler == "rq-scheduler":
        yield from _redis(settings)
    yield _cron(settings, swept=swept)


def _held(emails: int) -> Iterator[Finding]:
    if emails:
        text = f"{pluralize(emails, 'email is', 'emails are')} on hold"
        remedy = "release or cancel each one on the Schedule page; to list: flask emails list --status held"
        yield warning("on hold", text, remedy)


def _cron(settings: Settings, *, swept: bool) -> Finding:
    """Check the cron job. It is one of several ways to start sweeps, so it may be missing while another one works."""
    try:
        job = install.installed_job()
    except CronError as failure:
        return ok("cron", "no crontab here; another process is sending") if swept else _no_cron(str(failure))
    if job is None:
        return ok("cron", "no cron job; another process is sending") if swept else _no_cron("no cron job")
    if job.folder.resolve() != settings.folder.resolve():
        return warning("cron", f"the cron job runs {job.folder}, not this folder", "run ./makecron.sh to move it here")
    if install.daemon_is_running() is False:
        text = "the cron job is installed, but no cron daemon is running"
        return (
            warning("cron", f"{text}; another process is sending", "start it: service cron start")
            if swept
            else (error("cron", text, "start it: service cron start"))
        )
    return ok("cron", f"the cron job runs {job.command} ({job.schedule})")


def _no_cron(text: str) -> Finding:
    return warning("cron", text, START_SENDER["cron"])


def _redis(settings: Settings) -> Iterator[Finding]:
    try:
        wake_ups = wake_ups_of(settings)
        if wake_ups is None:
            return
        queue = wake_ups.stats()
    except QueueUnavailable as failure:
        yield error("redis", str(failure), "until then, let cron send mail: ./makecron.sh")
        return
    parts = "run ./start_flask.sh, or: systemctl start email-endpoint-worker email-endpoint-scheduler"
    yield ok("redis", f"{wake_ups.address}: {queue.armed:,} wake-ups scheduled, {queue.waiting:,} queued")
    if not queue.workers:
        yield error("redis", "no RQ worker is running for the queue email-endpoint", parts)
    if not queue.has_scheduler:
        yield error("redis", "rqscheduler is not running", parts)
    if queue.failed:
        yield warning(
            "redis", f"{queue.failed:,} wake-ups have failed", "run rq info to list them; tasklog.log has the reasons"
        )
