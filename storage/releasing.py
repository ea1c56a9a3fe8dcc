"""Releasing a held email: a person has decided that it goes out."""

from __future__ import annotations

from storage.connection import Connection
from storage.errors import NoActiveRecipients, NoSuchEmail, NotHeld
from storage.progress import ProgressTable

FIND = "SELECT status, due_at FROM emails WHERE event_id = :event_id"
RELEASE = "UPDATE emails SET status = :status, held_because = NULL WHERE event_id = :event_id AND status = 'held'"


def release(connection: Connection, progress: ProgressTable, event_id: int, now: int) -> str:
    """Release it; its status then. What is due begins at once, so that no sweep looks at its lateness again."""
    with connection.transaction():
        begun = progress.lock(event_id)
        status = "sending" if begun or _due_at(connection, event_id) <= now else "scheduled"
        if not connection.run(RELEASE, event_id=event_id, status=status):
            raise NotHeld(event_id, _status(connection, event_id))
        if begun:
            progress.finish_if_complete(event_id, now)
        elif status == "sending" and not progress.begin_at_once(event_id, now):
            raise NoActiveRecipients(event_id)
        connection.announce()
        return _status(connection, event_id)


def _due_at(connection: Connection, event_id: int) -> int:
    row = connection.row(FIND, event_id=event_id)
    if row is None:
        raise NoSuchEmail(event_id)
    return int(row[1])


def _status(connection: Connection, event_id: int) -> str:
    (row,) = connection.rows(FIND, event_id=event_id)
    return str(row[0])
