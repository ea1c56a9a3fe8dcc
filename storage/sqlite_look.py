"""A look through a SQLite file for damage, for so many seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

STEPS = 10_000  # of SQLite's machine, between looks at the clock


def damage(connection: sqlite3.Connection, seconds: float) -> list[str] | None:
    """What is wrong in the file, a few of it; None when there was not the time to look through all."""
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, STEPS)
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    except Exception as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)
    return [] if found == ["ok"] else found
