"""Emails that are put: created, or replaced as long as nothing of them was sent."""

from __future__ import annotations

import os
from datetime import datetime

from storage.connection import Connection
from storage.emails import SAVE, Email, known_content
from storage.errors import NotReplaceable

READ = "SELECT event_id, subject, content, due_at, status, content_digest FROM emails WHERE event_id = :event_id"
# As if it were POSTed now; its token stays, since no message was made with it.
REPLACE = """
UPDATE emails SET subject = :subject, content = :content, due_at = :due_at, created_at = :created_at,
    status = 'scheduled', held_because = NULL
WHERE event_id = :event_id AND status IN ('scheduled', 'held') AND NOT EXISTS (
    SELECT 1 FROM progress p WHERE p.event_id = emails.event_id)
"""


def replace(connection: Connection, email: Email, now: datetime) -> str:
    """Save an email under its event_id, whether that is new or not: `created`, `replaced` or `unchanged`."""
    with connection.transaction():
        result = "created" if _insert(connection, email, now) else _replace_saved(connection, email, now)
        if result != "unchanged":
            connection.announce()
        return result


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


def _values(email: Email) -> dict[str, int | str | None]:
    """What makes two emails identical, as it is stored."""
    event_id, subject, content, due_at = email[:4]
    return {"event_id": event_id, "subject": subject, "content": content, "due_at": int(due_at.timestamp())}


def _saved(connection: Connection, email: Email) -> dict[str, int | str | None]:
    (row,) = connection.rows(READ, event_id=email.event_id)
    saved = dict(zip(("event_id", "subject", "content", "due_at"), row, strict=False))
    return saved | {"content": known_content(row[2], row[5], email.content)}


def _status(connection: Connection, email: Email) -> str:
    (row,) = connection.rows(READ, event_id=email.event_id)
    return str(row[4])
