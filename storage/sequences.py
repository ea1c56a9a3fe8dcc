"""Assign IDs in the order of commits and without gaps, which a database's own sequences do not do."""

from __future__ import annotations

from storage import counters
from storage.connection import Connection
from storage.errors import RESTORE_BACKUP, DatabaseMissing


def reserve(connection: Connection, name: str, count: int = 1) -> int:
    """Reserve `count` numbers of this counter in the open transaction. Return the first of them.

    Raises DatabaseUnavailable if the counter is missing or damaged.
    """
    counters.read(connection, name)  # SQLite would treat a text as 0, and the first numbers would be assigned again
    row = connection.fetch_one(
        "UPDATE counters SET value = value + :count WHERE name = :name RETURNING value",
        name=name,
        count=count,
    )
    if row is None:
        raise DatabaseMissing(f"the database is damaged: it has no counter {name}", RESTORE_BACKUP)
    return int(row[0]) - count + 1
