"""What an operator wants to know about a database."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from storage import counters
from storage.connection import Connection
from storage.schema import guard


class DatabaseInfo(NamedTuple):
    server_version: str  # such as "SQLite 3.53.4"
    schema_version: int
    backup_made_at: datetime | None  # set while no sweep has run since the database was restored from this backup


def database_info(connection: Connection) -> DatabaseInfo:
    """Return what is known about the database without reading much of it."""
    made_at = counters.read_moment(connection, "backup_made_at")
    return DatabaseInfo(connection.server_version(), guard.version(connection), made_at)
