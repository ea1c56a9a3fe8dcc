"""Does anything look at what is due: cron, a watcher, or the Redis queue; and is anything overdue."""

from __future__ import annotations

import time
from collections.abc import Iterator

from checks.finding import Finding, error, ok, warning
from checks.late import LATE
from database import DBError, open_database
from settings import Settings
from wakeup import cron
from wakeup.crontab_file import CronError
from wakeup.redis_queue import QueueUnavailable, wake_ups_of

GONE = 15 * 60  # seconds since the last sweep
OVERDUE = 2 * 60  # seconds after which what is due should have been taken in hand
START = "start one: systemctl start email-endpoint-watcher, or ./start_flask.sh, or ./makecron.sh"


def check_sending(settings: Settings) -> Iterator[Finding]:
    """The heartbeat, what is overdue, and what makes sweeps run."""
    try:
        with open_database(settings) as database:
            last, due_at, held = (
                database.health.heartbeat_at(),
                database.next_work_at(),
                database.emails.counts()["held"],
            )
    except DBError:
        last, due_at, held = None, None, 0  # the database's own check says so
    if last is not None:
        yield heartbeat(time.time() - last, settings.scheduler)
        yield overdue(time.time() - due_at if due_at is not None else 0)
    if held:
        remedy = "flask emails list --status held; then flask emails release EVENT_ID, or cancel"
        yield warning("held", f"{held:,} emails are held until a person decides", remedy)
    if settings.scheduler == "rq-scheduler":
        yield from _redis(settings)
    yield _cron(settings, swept=last is not None and time.time() - last < LATE["cron"])


def heartbeat(age: float, scheduler: str) -> Finding:
    """What it means that a sweep last looked so many seconds ago."""
    text = f"a sweep last looked {_span(age)} ago"
    if age < LATE[scheduler]:
        return ok("sender", text)
    return (error if age >= GONE else warning)("sender", f"{text}: nothing is sent", START)


def overdue(age: float) -> Finding:
    """What it means that the oldest thing to send fell due so many seconds ago."""
    if age < OVERDUE:
        return ok("overdue", "nothing waits that should be gone")
    text = f"mail waits that was due {_span(age)} ago"
    return error("overdue", text, "see the last ERROR lines of tasklog.log; or run: python task.py")


def _cron(settings: Settings, *, swept: bool) -> Finding:
    """The cron job, which is one of several ways to send: that it is missing matters only if nothing else does."""
    try:
        job = cron.installed_job()
    except CronError as failure:
        return ok("cron", "no crontab can be read here; something else sends") if swept else _no_cron(str(failure))
    if job is None:
        return ok("cron", "there is no cron job; something else sends") if swept else _no_cron("there is no cron job")
    if job.folder.resolve() != settings.folder.resolve():
        return warning("cron", f"the cron job runs {job.folder}, not this folder", "./makecron.sh moves it here")
    if cron.daemon_is_running() is False:
        text = "the cron job is there, but no cron daemon runs"
        return (
            warning("cron", f"{text}; something else sends", "start it: service cron start")
            if swept
            else (error("cron", text, "start it: service cron start"))
        )
    return ok("cron", f"the cron job runs {job.command} ({job.schedule})")


def _no_cron(text: str) -> Finding:
    return warning("cron", text, START)


def _redis(settings: Settings) -> Iterator[Finding]:
    try:
        wake_ups = wake_ups_of(settings)
        if wake_ups is None:
            return
        queue = wake_ups.look()
    except QueueUnavailable as failure:
        yield error("redis", str(failure), "until then mail waits for the safety net: ./makecron.sh")
        return
    parts = "./start_flask.sh runs both; or systemctl start email-endpoint-worker email-endpoint-scheduler"
    yield ok("redis", f"{wake_ups.place}: {queue.armed:,} wake-ups armed, {queue.waiting:,} in line")
    if not queue.workers:
        yield error("redis", "no rq worker is at work on the queue email-endpoint", parts)
    if not queue.has_scheduler:
        yield error("redis", "no rqscheduler is at work", parts)
    if queue.failed:
        yield warning("redis", f"{queue.failed:,} wake-ups have failed", "rq info shows them; tasklog.log says why")


def _span(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(0, seconds):.0f} seconds"
