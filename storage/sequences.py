"""Numbers given out one after the other, in the order of commits; a database's own sequences are not."""

from __future__ import annotations

from storage.connection import Connection
from storage.errors import RESTORE_BACKUP, DatabaseMissing


def take(connection: Connection, name: str, count: int = 1) -> int:
    """Reserve `count` numbers of this counter, inside the transaction that is open; the first of them."""
    row = connection.fetch_one(
        "UPDATE counters SET value = value + :count WHERE name = :name RETURNING value",
        name=name,
        count=count,
    )
    if row is None:
        raise DatabaseMissing(f"the database is damaged: it has no counter {name}", RESTORE_BACKUP)
    return int(row[0]) - count + 1
