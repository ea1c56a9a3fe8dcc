"""Is mail going out? The one place that decides, for `flask check`, the probes and the pages."""

from __future__ import annotations

import time
from collections.abc import Iterator

from database import Database
from monitoring.clock import CONFIRM_CLOCK
from monitoring.finding import Finding, error, ok, warning
from monitoring.humanize import duration, pluralize
from storage.stats import Waiting

# Three times what passes between two sweeps: cron's minute, or the five of the safety net beside Redis.
LATE_AFTER = {"cron": 3 * 60, "rq-scheduler": 15 * 60}  # seconds, by SCHEDULER
DOWN_AFTER = 15 * 60  # seconds since the last sweep
STALLED_AFTER = 15 * 60  # seconds: a server may take ten minutes for one answer (RFC 5321 4.5.3.2.6)
DAY = 24 * 60 * 60

START_SENDER = {
    "cron": "run ./makecron.sh, or keep ./start_flask.sh or python task.py --watch running; "
    "python task.py says what is wrong",
    "rq-scheduler": "run ./makecron.sh, and see that rq worker and rqscheduler run, as ./start_flask.sh has them; "
    "python task.py says what is wrong",
}
SEE_LOG = "tasklog.log says why: the server refuses, SMTP_MAX_PER_DAY is used up, or a sender hangs"


def check_delivery_health(database: Database, scheduler: str, now: int) -> Iterator[Finding]:
    """Check the heartbeat, overdue emails and stalled emails, in this order. Raises DatabaseUnavailable."""
    health = database.health
    yield heartbeat(now - health.heartbeat_at(), scheduler)
    yield waiting(
        "overdue", health.overdue(now - LATE_AFTER[scheduler]), "due and not begun", now, START_SENDER[scheduler]
    )
    yield waiting("stalled", health.stalled(now - STALLED_AFTER), "begun and not moving", now, SEE_LOG)


def problems(database: Database, scheduler: str) -> list[Finding]:
    """Return the findings of `check_delivery_health` that are not ok. Raises DatabaseUnavailable."""
    return [finding for finding in check_delivery_health(database, scheduler, int(time.time())) if not finding.is_ok]


def heartbeat(age: float, scheduler: str) -> Finding:
    """The finding for a last sweep so many seconds ago."""
    if age < -DAY:
        return error(
            "sender",
            f"the last sweep was {duration(-age)} ahead of this machine's clock",
            f"set the clock; {CONFIRM_CLOCK}",
        )
    text = f"the last sweep looked {duration(max(age, 0))} ago"
    if age <= LATE_AFTER[scheduler]:
        return ok("sender", text)
    return (error if age >= DOWN_AFTER else warning)("sender", text, START_SENDER[scheduler])


def waiting(subject: str, emails: Waiting, what: str, now: int, remedy: str) -> Finding:
    """The finding for emails that are waiting although they should not."""
    if not emails.emails or emails.since is None:
        return ok(subject, f"no email is {what}")
    count = pluralize(emails.emails, "email is", "emails are")
    return error(subject, f"{count} {what}, the first for {duration(now - emails.since)}", remedy)
