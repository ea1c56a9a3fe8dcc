"""Decide whether mail is going out: the one place for `flask check`, the probes and the pages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from database import CLOCK, Database, EmailSummary
from monitoring import mail_server
from monitoring.finding import Finding, error, ok
from monitoring.humanize import duration, pluralize
from sender import clock_check
from storage.stats import Waiting

# Without a heartbeat, by SCHEDULER: cron sweeps each minute, the safety net beside Redis every five.
LATE_AFTER = {"cron": timedelta(seconds=90), "rq-scheduler": timedelta(minutes=15)}
OVERDUE_AFTER = timedelta(seconds=90)  # since an email was due, or saved if that was later
STALLED_AFTER = timedelta(minutes=15)  # a server may take ten minutes for one reply (RFC 5321 4.5.3.2.6)
DAY = timedelta(days=1)

START_SENDER = {
    "cron": "run ./makecron.sh, or keep ./start_flask.sh or python task.py --watch running; "
    "python task.py shows what is wrong",
    "rq-scheduler": "run ./makecron.sh, and check that the RQ worker and rqscheduler are running (./start_flask.sh "
    "starts both); "
    "python task.py shows what is wrong",
}
SEE_LOG = "see tasklog.log: the server refuses mail, the daily limit is reached (SMTP_MAX_PER_DAY), or a sender hangs"


def check_delivery_health(database: Database, scheduler: str, now: datetime) -> Iterator[Finding]:
    """Check the sender, overdue emails and stalled emails, in this order. Raises DatabaseUnavailable.

    If the sender has a problem, all three findings have its remedy.
    """
    now = now.replace(microsecond=0)  # as the times in the database
    health = database.health
    sender = _sender(database, scheduler, now)
    yield sender
    overdue = health.overdue(now - OVERDUE_AFTER)
    yield waiting("overdue", "by", overdue, now, sender.remedy or START_SENDER[scheduler])
    stalled = health.stalled(now - STALLED_AFTER)
    yield waiting("stalled", "for", stalled, now, sender.remedy or SEE_LOG)


def is_overdue(email: EmailSummary, now: datetime) -> bool:
    """Return whether an email should have been started by now: OVERDUE_AFTER has passed since it was due and saved."""
    return email.status == "scheduled" and now - max(email.due_at, email.created_at) > OVERDUE_AFTER


def _sender(database: Database, scheduler: str, now: datetime) -> Finding:
    running = heartbeat(now - database.health.heartbeat_at(), scheduler)
    errors = database.sender_errors.current()
    if not errors or (not running.is_ok and errors[0].kind != CLOCK):
        return running
    first = errors[0]
    text = f"nothing has been sent for {duration(max(now - first.since, timedelta()))}: {first.reason}"
    remedy = clock_check.remedy_for if first.kind == CLOCK else mail_server.remedy_for
    return error("sender", text, remedy(first.reason))


def problems(database: Database, scheduler: str) -> list[Finding]:
    """Return the findings of `check_delivery_health` that are not ok. Raises DatabaseUnavailable."""
    return [finding for finding in check_delivery_health(database, scheduler, datetime.now(UTC)) if not finding.is_ok]


def heartbeat(age: timedelta, scheduler: str) -> Finding:
    """Return the finding for a last sweep that was `age` ago."""
    if age < -DAY:
        return error(
            "sender",
            f"according to this machine's clock, the sender's last check is {duration(-age)} in the future",
            f"set the clock; {clock_check.CONFIRM_CLOCK}",
        )
    last_check = f"last check {duration(max(age, timedelta()))} ago"
    if age <= LATE_AFTER[scheduler]:
        return ok("sender", f"the sender is running ({last_check})")
    return error("sender", f"the sender is not running ({last_check})", START_SENDER[scheduler])


def waiting(state: str, preposition: str, emails: Waiting, now: datetime, remedy: str) -> Finding:
    """Return the finding for emails in a state, such as `overdue`, in which no email should be."""
    if not emails.emails or emails.since is None:
        return ok(state, f"no {state} emails")
    count = pluralize(emails.emails, "email is", "emails are")
    first = "" if emails.emails == 1 else "the first "
    return error(state, f"{count} {state} ({first}{preposition} {duration(now - emails.since)})", remedy)
