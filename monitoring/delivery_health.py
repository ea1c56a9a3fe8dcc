"""Is mail going out? The one place that decides, for `flask check`, the probes and the pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from database import Database
from monitoring.clock import CONFIRM_CLOCK
from monitoring.finding import Finding, error, ok, warning
from monitoring.humanize import duration, pluralize
from storage.stats import Waiting

# Three times what passes between two sweeps: cron's minute, or the five of the safety net beside Redis.
LATE_AFTER = {"cron": timedelta(minutes=3), "rq-scheduler": timedelta(minutes=15)}  # by SCHEDULER
DOWN_AFTER = timedelta(minutes=15)  # since the last sweep
STALLED_AFTER = timedelta(minutes=15)  # a server may take ten minutes for one answer (RFC 5321 4.5.3.2.6)
DAY = timedelta(days=1)

START_SENDER = {
    "cron": "run ./makecron.sh, or keep ./start_flask.sh or python task.py --watch running; "
    "python task.py says what is wrong",
    "rq-scheduler": "run ./makecron.sh, and see that rq worker and rqscheduler run, as ./start_flask.sh has them; "
    "python task.py says what is wrong",
}
SEE_LOG = "tasklog.log says why: the server refuses, SMTP_MAX_PER_DAY is used up, or a sender hangs"


def check_delivery_health(database: Database, scheduler: str, now: datetime) -> Iterator[Finding]:
    """Check the heartbeat, overdue emails and stalled emails, in this order. Raises DatabaseUnavailable."""
    now = now.replace(microsecond=0)  # as the times in the database
    health = database.health
    yield heartbeat(now - health.heartbeat_at(), scheduler)
    yield waiting(
        "overdue", health.overdue(now - LATE_AFTER[scheduler]), "due and not begun", now, START_SENDER[scheduler]
    )
    yield waiting("stalled", health.stalled(now - STALLED_AFTER), "begun and not moving", now, SEE_LOG)


def problems(database: Database, scheduler: str) -> list[Finding]:
    """Return the findings of `check_delivery_health` that are not ok. Raises DatabaseUnavailable."""
    return [finding for finding in check_delivery_health(database, scheduler, datetime.now(UTC)) if not finding.is_ok]


def heartbeat(age: timedelta, scheduler: str) -> Finding:
    """Return the finding for a last sweep that was `age` ago."""
    if age < -DAY:
        return error(
            "sender",
            f"the last sweep was {duration(-age)} ahead of this machine's clock",
            f"set the clock; {CONFIRM_CLOCK}",
        )
    text = f"the last sweep looked {duration(max(age, timedelta()))} ago"
    if age <= LATE_AFTER[scheduler]:
        return ok("sender", text)
    return (error if age >= DOWN_AFTER else warning)("sender", text, START_SENDER[scheduler])


def waiting(subject: str, emails: Waiting, what: str, now: datetime, remedy: str) -> Finding:
    """Return the finding for emails that are waiting although they should not."""
    if not emails.emails or emails.since is None:
        return ok(subject, f"no email is {what}")
    count = pluralize(emails.emails, "email is", "emails are")
    return error(subject, f"{count} {what}, the first for {duration(now - emails.since)}", remedy)
