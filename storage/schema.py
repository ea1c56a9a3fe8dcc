"""Before a database is used: its tables are of this program's version, and its disk kept what it promised."""

from __future__ import annotations

import os
import time
from pathlib import Path

from storage.clock import boot_id
from storage.connection import Connection
from storage.errors import DatabaseMissing, DatabaseUnavailable, SchemaMismatch
from storage.progress import MARK

VERSION = 1
SCHEMA = Path(__file__).resolve().parent.parent / "schema.sql"
MIGRATIONS = Path(__file__).resolve().parent / "migrations"
SEEN = "SELECT value FROM meta WHERE name = 'boot'"
SEE = """
INSERT INTO meta (name, value) VALUES ('boot', :boot) ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
LOST = """
INSERT INTO counters (name, value) VALUES ('lost_commits', :lost)
ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value
"""


def check(connection: Connection) -> None:
    """Raise SchemaMismatch, or DatabaseMissing, unless the tables are this program's; look at the disk."""
    found = version(connection)
    if found != VERSION:
        raise SchemaMismatch(found, VERSION)
    look_after_boot(connection, int(time.time()))


def version(connection: Connection) -> int:
    """The version of the tables; DatabaseMissing when there are none."""
    row = connection.row("SELECT value FROM meta WHERE name = 'schema_version'")
    if row is None:
        raise DatabaseMissing("the database has no schema version", "run: flask init-db")
    return int(row[0])


def create_or_upgrade(connection: Connection, now: int) -> str:
    """Bring the tables to this program's version, all or nothing; says what was done. Safe to repeat."""
    with connection.transaction():
        done = _created_or_upgraded(connection, now)
    look_after_boot(connection, now)
    return done


def look_after_boot(connection: Connection, now: int) -> None:
    """Once after each start of the machine: mark a database that has lost commits as a backup is marked.

    What it is about to send may have been sent. By whoever opens it first: who closes it last removes the log in which
    that can be seen.
    """
    boot = boot_id()
    if connection.log is None or connection.row(SEEN) == (boot,):
        return
    from storage.wal import lost_commits

    try:
        with connection.transaction():
            lost = lost_commits(connection.log)
            if lost:
                connection.run(MARK, now=now)
                connection.run(LOST, lost=lost)
            connection.run(SEE, boot=boot)
    except DatabaseUnavailable:
        return  # it can be read at least; the next one who can write looks


def _created_or_upgraded(connection: Connection, now: int) -> str:
    if not connection.has_tables():
        _create(connection, now)
        return f"made the tables, version {VERSION}"
    found = version(connection)
    if found > VERSION:
        raise SchemaMismatch(found, VERSION)
    for number in range(found + 1, VERSION + 1):
        _upgrade(connection, number)
    return f"upgraded the tables from version {found} to {VERSION}" if found < VERSION else "up to date"


def _create(connection: Connection, now: int) -> None:
    connection.run_script(SCHEMA.read_text(encoding="utf-8"))
    meta = {
        "schema_version": str(VERSION),
        "secret_key": os.urandom(32).hex(),
        "installation": os.urandom(8).hex(),
    }
    names = ("recipient_id", "import_id", "sender_id", "sweeps", "sweep_milliseconds")
    counters = {**dict.fromkeys(names, 0), "last_sweep_at": now}
    connection.tune()
    for name, value in meta.items():
        connection.run("INSERT INTO meta (name, value) VALUES (:name, :value)", name=name, value=value)
    for counter, count in counters.items():
        connection.run("INSERT INTO counters (name, value) VALUES (:name, :value)", name=counter, value=count)


def _upgrade(connection: Connection, number: int) -> None:
    script = next(MIGRATIONS.glob(f"{number:04}_*.sql"))
    connection.run_script(script.read_text(encoding="utf-8"))
    connection.run("UPDATE meta SET value = :value WHERE name = 'schema_version'", value=str(number))
