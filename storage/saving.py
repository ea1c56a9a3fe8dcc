"""Emails saved many at once, and put: created, or replaced as long as nothing of them was sent."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime

from storage.connection import Connection
from storage.emails import SAVE, Email
from storage.errors import NotReplaceable

READ = "SELECT event_id, subject, content, due_at, status FROM emails WHERE event_id = :event_id"
# As if it were POSTed now; its token stays, since no message was made with it.
REPLACE = """
UPDATE emails SET subject = :subject, content = :content, due_at = :due_at, created_at = :created_at,
    status = 'scheduled', held_because = NULL
WHERE event_id = :event_id AND status IN ('scheduled', 'held') AND NOT EXISTS (
    SELECT 1 FROM progress p WHERE p.event_id = emails.event_id)
"""


def save_many(connection: Connection, emails: Sequence[Email], now: datetime) -> list[str]:
    """Save all that are new, in one transaction; of each: `saved`, `identical` or `different`."""
    results = [""] * len(emails)
    # In the order of their keys, so that two who save the same ones never wait for each other.
    in_order = sorted(range(len(emails)), key=lambda index: emails[index].event_id)
    with connection.transaction():
        for index in in_order:
            results[index] = _save(connection, emails[index], now)
        connection.announce()
    return results


def replace(connection: Connection, email: Email, now: datetime) -> str:
    """Save an email under its event_id, whether that is new or not: `created`, `replaced` or `unchanged`."""
    with connection.transaction():
        result = "created" if _insert(connection, email, now) else _replace_saved(connection, email, now)
        if result != "unchanged":
            connection.announce()
        return result


def _save(connection: Connection, email: Email, now: datetime) -> str:
    if _insert(connection, email, now):
        return "saved"
    return "identical" if _saved(connection, email) == _values(email) else "different"


def _replace_saved(connection: Connection, email: Email, now: datetime) -> str:
    if _saved(connection, email) == _values(email) and _status(connection, email) != "cancelled":
        return "unchanged"
    values = {**_values(email), "created_at": int(now.timestamp())}
    if not connection.run(REPLACE, **values):
        raise NotReplaceable(email.event_id, _status(connection, email))
    return "replaced"


def _insert(connection: Connection, email: Email, now: datetime) -> bool:
    token = os.urandom(12).hex()
    return connection.run(SAVE, **_values(email), created_at=int(now.timestamp()), token=token) == 1


def _values(email: Email) -> dict[str, int | str]:
    """What makes two emails identical, as it is stored."""
    event_id, subject, content, due_at = email[:4]
    return {"event_id": event_id, "subject": subject, "content": content, "due_at": int(due_at.timestamp())}


def _saved(connection: Connection, email: Email) -> dict[str, int | str]:
    (row,) = connection.rows(READ, event_id=email.event_id)
    return dict(zip(("event_id", "subject", "content", "due_at"), row, strict=False))


def _status(connection: Connection, email: Email) -> str:
    (row,) = connection.rows(READ, event_id=email.event_id)
    return str(row[4])
