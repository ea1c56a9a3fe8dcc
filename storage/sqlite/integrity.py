"""Check the integrity of a SQLite file within a time limit."""

from __future__ import annotations

import time

from storage.sqlite.driver import driver

STEPS_PER_CLOCK_CHECK = 10_000  # of SQLite's virtual machine


def quick_check(connection: driver.Connection, seconds: float) -> list[str] | None:
    """Return the first few faults in the file, or None if checking all of it takes more than `seconds`."""
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, STEPS_PER_CLOCK_CHECK)
    try:
        found = [str(row[0]) for row in connection.execute("PRAGMA quick_check(5)")]
    except driver.Error as error:
        if getattr(error, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
            return None
        raise
    finally:
        connection.set_progress_handler(None, 0)
    return [] if found == ["ok"] else found
