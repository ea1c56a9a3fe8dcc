"""Does the service do its work? Each check says what it found, and what mends it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from checks.late import LATE
from database import Database, DatabaseUnavailable, SchemaMismatch
from settings import Settings
from web.words import many, span

DAY = 24 * 60 * 60
STALLED = 15 * 60  # seconds: a server may take ten minutes for one answer (RFC 5321 4.5.3.2.6)
SWEEPING = {
    "cron": "run ./makecron.sh, or keep ./start_flask.sh or python task.py --watch running; "
    "python task.py says what is wrong",
    "rq-scheduler": "run ./makecron.sh, and see that rq worker and rqscheduler run, as ./start_flask.sh has them; "
    "python task.py says what is wrong",
}
SEE_LOG = "tasklog.log says why: the server refuses, SMTP_MAX_PER_DAY is used up, or a sender hangs"


class Check(NamedTuple):
    """What was looked at, whether it is right, what was seen, and what to do if it is wrong."""

    name: str
    ok: bool
    found: str
    remedy: str


def ready(checks: list[Check]) -> bool:
    """Whether all is right."""
    return all(check.ok for check in checks)


def check_all(database: Database, settings: Settings) -> list[Check]:
    """Every check, of a database that answers and has the right tables. Raises DatabaseUnavailable."""
    database.health.prove_writable()
    return [
        Check("database", True, "it answers, and can be written", ""),
        Check("schema", True, "the tables are of this version", ""),
        *check_sending(database, settings, int(time.time())),
    ]


def check_sending(database: Database, settings: Settings, now: int) -> list[Check]:
    """Whether mail goes out: that sweeps look, that nothing is overdue, and that nothing stands still."""
    late = LATE[settings.scheduler]
    sweeping = SWEEPING[settings.scheduler]
    return [
        check_heartbeat(database.health.heartbeat_at(), now, late, sweeping),
        _check_waiting(database.health.overdue(now - late), "overdue", "due and not begun", now, sweeping),
        _check_waiting(database.health.stalled(now - STALLED), "stalled", "begun and not moving", now, SEE_LOG),
    ]


def check_unavailable(error: DatabaseUnavailable) -> list[Check]:
    """The one check that failed before all others."""
    name = "schema" if isinstance(error, SchemaMismatch) else "database"
    return [Check(name, False, error.reason, error.remedy)]


def check_heartbeat(beat_at: int, now: int, late: int, remedy: str) -> Check:
    """Whether sweeps look at the database, by the last of them."""
    age = now - beat_at
    if age < -DAY:
        remedy = "set the clock; if it is right, run: python task.py --clock-is-right"
        return Check("sender", False, f"the last sweep was {span(-age)} ahead of this machine's clock", remedy)
    found = f"the last sweep looked {span(max(age, 0))} ago"
    return Check("sender", age <= late, found, "" if age <= late else remedy)


def _check_waiting(waiting: tuple[int, int | None], name: str, what: str, now: int, remedy: str) -> Check:
    emails, since = waiting
    if not emails or since is None:
        return Check(name, True, f"no email is {what}", "")
    found = f"{many(emails, 'email is', 'emails are')} {what}, the first for {span(now - since)}"
    return Check(name, False, found, remedy)


def checker(settings: Settings) -> Callable[[Database], list[Check]]:
    """`check_all` with these settings."""
    return lambda database: check_all(database, settings)
