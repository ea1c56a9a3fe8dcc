"""An installation after some weeks of use: emails in every state, deliveries with every outcome and real replies."""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from database import Address, Database, Email
from intake.recipients_csv import import_job
from tests.support.in_process import sweep_once
from tests.support.installation import Installation
from tests.support.servers.smtp_server import Close, ScriptedServer

FIRST = ("Ada", "Alan", "Barbara", "Claude", "Donald", "Edsger", "Frances", "Grace", "Hedy", "Ida", "Jean", "Kurt")
LAST = (
    "Bartik",
    "Dijkstra",
    "Goedel",
    "Hamilton",
    "Hopper",
    "Knuth",
    "Lamarr",
    "Liskov",
    "Lovelace",
    "Milner",
    "Perlis",
)
HOSTS = ("example.com", "example.net", "example.org", "mail.example.com", "post.example.net", "choir.example.org")
HELD, MINUTES, NEWSLETTER, CONCERT, CANCELLED, OVERDUE, TOMORROW, NEXT_WEEK, PERSONAL = range(1001, 1010)
DAY = 86_400
REPLIES = {
    "hedy.lamarr@": "550 5.1.1 No such user here",
    "kurt.goedel@": "550 5.1.1 No such user here",
    "edsger.milner@": "552 5.2.2 The mailbox is full",
    "ida.liskov@": "550 5.7.1 Refused by the recipient's rules",
}
LATER = "451 4.7.1 Greylisted, come back in five minutes"
PAGE = """<!DOCTYPE html>
<html lang="en"><head><title>November</title><style>h1 { color: #14532d }</style></head>
<body><h1>What happens in November</h1>
<p>Dear friends of the choir,</p>
<p>on <strong>Friday, 27 November</strong> we sing Haydn's <em>Creation</em> in the great hall.
<a href="https://choir.example.org/november">All dates are on our page.</a></p>
<p>See you there!</p></body></html>
"""
TEXT = (
    "Dear friends,\n\nplease find below what we decided last Thursday.\n\n– The hall is booked.\n– We start at eight.\n"
)
LETTER = PAGE.replace("Dear friends of the choir", "Dear {{ name }}")
LISTS = ("Winter Gala 2026", "Members <of the board>", "Summer party")


def addresses(count: int) -> Iterator[Address]:
    """Yield `count` different addresses."""
    people = ((first, last, host) for host in HOSTS for last in LAST for first in FIRST)
    for first, last, host in itertools.islice(people, count):
        name = f"{first}.{last}@{host}".lower()
        yield Address(name, name)


def fill(installation: Installation, count: int = 240) -> None:
    """Add recipients and emails, and send what is due to a server that rejects some of it."""
    installation.save_email(HELD, -1, "Rehearsal on Monday", TEXT)
    sweep_once(installation)
    with installation.database() as database:
        database.recipients.add(addresses(count), datetime.now(UTC))
        for recipient_id in (7, 42, 99):
            database.recipients.unsubscribe(recipient_id, datetime.now(UTC))
    installation.save_email(MINUTES, -1, "Minutes of the general meeting", TEXT)
    sweep_once(installation)
    installation.save_email(NEWSLETTER, -1, "November: dates, tickets, a new hall", PAGE)
    _sweep(installation, RCPT=refuse_some, CONTENT=lose_some)
    installation.save_email(CONCERT, -1, "Tonight's concert begins at eight", TEXT)
    _sweep(installation, RCPT=put_off_some)
    _plan(installation)
    _import(installation)
    _add_lists(installation)
    _write(installation)


def _write(installation: Installation) -> None:
    """Add two drafts and a template."""
    now = datetime.now(UTC)
    fields = {"email_subject": "Season’s greetings", "email_content": TEXT, "audience": "everyone"}
    with installation.database() as database:
        database.drafts.add("Season’s greetings", fields, now)
        database.drafts.add("", {"email_content": "Dear all"}, now)
        database.templates.add("Monthly newsletter, with a rather long name for its few words", fields, now)


def _add_lists(installation: Installation) -> None:
    """Add a list with a member who left it, a list without members, and an archived list."""
    now = datetime.now(UTC)
    with installation.database() as database:
        for name in LISTS:
            database.lists.add(name, now)
        database.lists.add_members(LISTS[0], addresses(9), now, "page")
        database.lists.leave(3, [1], now)
        database.lists.archive(LISTS[2], now)


def _sweep(installation: Installation, **on: Any) -> None:
    with ScriptedServer(on=on) as server:
        at_server = Installation(
            installation.folder,
            **installation.environment | {"EMAIL_URL": f"smtp://127.0.0.1:{server.port}", "IN_DOUBT": "hold"},
        )
        sweep_once(at_server)


def _plan(installation: Installation) -> None:
    """Add emails that are scheduled, overdue and cancelled."""
    installation.save_email(CANCELLED, 3 * DAY, "Excursion to the lake", TEXT)
    installation.save_email(OVERDUE, -120, "The bus leaves at 17:30", TEXT)
    installation.save_email(TOMORROW, DAY + 3_000, "Tickets: the last twenty", TEXT)
    installation.save_email(NEXT_WEEK, 8 * DAY, "Thank you for a wonderful evening", PAGE)
    due_at = datetime.now(UTC) + timedelta(days=9)
    with installation.database() as database:
        database.emails.cancel(CANCELLED, datetime.now(UTC))
        letter = Email(PERSONAL, "A letter to {{ name }}", LETTER, due_at, personal=True)
        database.emails.save(letter, datetime.now(UTC))


def _import(installation: Installation) -> None:
    """Import recipient files, one for each state. The first one is ready to preview."""
    files = {
        "ready": PEOPLE,
        "reading": PEOPLE,
        "importing": PEOPLE,
        "undoing": PEOPLE,
        "done": PEOPLE,
        "undone": PEOPLE,
    }
    files |= {"refused": b"@\n@\n@\n", "interrupted": PEOPLE}
    settings, logger = installation.settings, logging.getLogger()
    with installation.database() as database:
        for status, content in files.items():
            import_id = database.imports.create("choir.csv", [content], datetime.now(UTC))
            import_job.run(settings, logger, import_id, "read")
            for step in {"done": ("import",), "undone": ("import", "undo"), "undoing": ("import",)}.get(status, ()):
                assert database.imports.begin(import_id, step, datetime.now(UTC))
                import_job.run(settings, logger, import_id, step)
            if status in ("reading", "importing", "undoing"):
                database.connection.execute(AT_WORK, import_id=import_id, status=status, now=int(time.time()) + DAY)
            if status == "interrupted":
                database.connection.execute(AT_WORK, import_id=import_id, status="importing", now=0)


def refuse_some(line: bytes, _: int) -> str | None:
    """Reject some recipients permanently, at RCPT."""
    return next((reply for name, reply in REPLIES.items() if name.encode() in line), None)


def lose_some(content: bytes, _: int) -> object:
    """Close the connection after the final dot, so that some outcomes stay in doubt."""
    return Close() if b"To: jean.hopper@" in content else None


def put_off_some(line: bytes, nth: int) -> str | None:
    """Defer every third recipient, at RCPT."""
    return refuse_some(line, nth) or (LATER if nth % 3 == 0 else None)


def age(database: Database, event_id: int, seconds: int) -> None:
    """Make an email and its deliveries older by `seconds`."""
    with database.connection.transaction():
        for statement in AGE:
            database.connection.execute(statement, event_id=event_id, seconds=seconds)


PEOPLE = (
    "recipient_email,name\r\nada.lovelace@example.com,Ada Lovelace\r\nhedy.lamarr@example.com,Hedy Lamarr\r\n"
    "mary.somerville@example.com,Mary Somerville\r\nemmy noether,Emmy Noether\r\nlise.meitner@example,Lise Meitner\r\n"
    "sofja.kowalewskaja@example.com,Софья Ковалевская\r\nMary.Somerville@example.com,Mary Somerville\r\n"
).encode()
AT_WORK = """
UPDATE imports SET status = :status, heartbeat_at = :now, position = size / 3, last_id = after_id + size
WHERE import_id = :import_id
"""
AGE = (
    "UPDATE emails SET due_at = due_at - :seconds, created_at = created_at - :seconds,"
    " finished_at = finished_at - :seconds WHERE event_id = :event_id",
    "UPDATE progress SET started_at = started_at - :seconds, first_sent_at = first_sent_at - :seconds,"
    " last_sent_at = last_sent_at - :seconds WHERE event_id = :event_id",
    "UPDATE deliveries SET queued_at = queued_at - :seconds, finished_at = finished_at - :seconds"
    " WHERE event_id = :event_id",
    "UPDATE attempts SET attempted_at = attempted_at - :seconds WHERE event_id = :event_id",
)
