"""Facts about a database for its operator."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from storage import counters
from storage.connection import Connection
from storage.schema import guard


class DatabaseInfo(NamedTuple):
    server_version: str  # such as "SQLite 3.53.4"
    schema_version: int
    backup_made_at: datetime | None  # set after restoring a backup, until the first sweep


def database_info(connection: Connection) -> DatabaseInfo:
    """Return the facts about a database, without reading much of it."""
    made_at = counters.read_moment(connection, "backup_made_at")
    return DatabaseInfo(connection.server_version(), guard.version(connection), made_at)
