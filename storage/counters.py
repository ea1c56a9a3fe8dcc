"""Read the table `counters`. Each value is checked, because SQLite stores anything that is put in an integer column."""

from __future__ import annotations

from datetime import datetime

from storage.connection import Connection
from storage.errors import NAMED_VALUE_LENGTH, RESTORE_BACKUP, DatabaseUnavailable
from storage.values import moment_or_none

SELECT_COUNTER = "SELECT value FROM counters WHERE name = :name"
SELECT_COUNTERS = "SELECT name, value FROM counters ORDER BY name"
TIMES = ("last_sweep_at", "backup_made_at")
MAX_TIME = 253_402_300_799  # the last second of the year 9999
REMEDIES = {"last_sweep_at": "if the clock is right, run: python task.py --clock-is-right"}  # else RESTORE_BACKUP


def read(connection: Connection, name: str) -> int | None:
    """Return the value of a counter, or None if it does not exist. Raises DatabaseUnavailable if it is damaged."""
    row = connection.fetch_one(SELECT_COUNTER, name=name)
    return None if row is None else _checked(name, row[0])


def read_moment(connection: Connection, name: str) -> datetime | None:
    """Return a counter as an aware datetime, or None if it does not exist. Raises DatabaseUnavailable."""
    return moment_or_none(read(connection, name))


def check(connection: Connection) -> None:
    """Raise DatabaseUnavailable if any counter is damaged."""
    for name, value in connection.fetch_all(SELECT_COUNTERS):
        _checked(name, value)


def _checked(name: str, value: object) -> int:
    if type(value) is int and (name not in TIMES or 0 <= value <= MAX_TIME):
        return value
    shown = repr(value)[:NAMED_VALUE_LENGTH]
    kind = "an integer" if type(value) is not int else "a time in seconds since 1970"
    raise DatabaseUnavailable(
        f"the database is damaged: its counter {name} is {shown}, not {kind}", REMEDIES.get(name, RESTORE_BACKUP)
    )
