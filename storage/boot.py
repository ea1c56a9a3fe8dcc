"""The first look at a database after each start of its machine: a power cut is when a disk loses what it promised."""

from __future__ import annotations

from storage.connection import Connection
from storage.errors import DatabaseUnavailable
from storage.progress import MARK

SEEN = "SELECT value FROM meta WHERE name = 'boot'"
SEE = """
INSERT INTO meta (name, value) VALUES ('boot', :boot) ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
LOST = """
INSERT INTO counters (name, value) VALUES ('lost_commits', :lost)
ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value
"""


def look(connection: Connection, now: int) -> None:
    """Mark a database that has lost commits as a backup is marked: what it is about to send may have been sent.

    By whoever opens it first: who closes it last removes the log in which that can be seen.
    """
    boot = connection.boot
    if boot is None or connection.row(SEEN) == (boot,):
        return
    try:
        with connection.transaction():
            lost = connection.lost_commits()
            if lost:
                connection.run(MARK, now=now)
                connection.run(LOST, lost=lost)
            connection.run(SEE, boot=boot)
    except DatabaseUnavailable:
        return  # it can be read at least; the next one who can write looks
