"""What an operator wants to know of a database."""

from __future__ import annotations

import time
from typing import NamedTuple

from storage import schema
from storage.connection import Connection
from storage.progress import BACKUP_MADE_AT


class Condition(NamedTuple):
    """Its program and tables."""

    product: str  # and its version: "SQLite 3.53.4"
    version: int  # of the tables
    backup_made_at: int | None  # it is a restored backup, at which no sweep has looked yet


def look(connection: Connection) -> Condition:
    """Look at the database; what takes time is not looked at."""
    mark = connection.fetch_one(BACKUP_MADE_AT)
    return Condition(connection.server_version(), schema.version(connection), mark[0] if mark else None)


def clock_lead(connection: Connection) -> float | None:
    """Seconds by which the clock of the database's server is ahead of ours; None where it is the same clock."""
    reading = connection.lease_time()
    return reading.milliseconds / 1000 - time.time() if reading.clock == "postgresql" else None
