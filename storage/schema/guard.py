"""Check which schema a database has, and whether this program can use it.

A database records its schema in two rows of `meta`: `schema_version`, and `schema_digest`, a digest of the SQL that
creates the schema. The version says which migrations the database needs. The digest distinguishes development versions
with the same number. Both must match this program's (`require_current`).

This is checked

- when the web server, `task.py`, `flask check` or any other command opens a database (`check`);
- at every probe (`check`), and at the start of every sweep of a long-running sender (`check_version`);
- by the first statement of every transaction on an open database (`GUARD`), so that a process never writes to a
  database that was upgraded or replaced while the process had it open. No upgrade can come between the check and the
  writes: on PostgreSQL, an upgrade waits for transactions that have read `meta`; SQLite has one writer at a time.

`storage/schema/upgrading.py` creates and upgrades the schema.
"""

from __future__ import annotations

import re
import time

from storage.clock import boot_id
from storage.connection import Connection, Guard, Row
from storage.errors import NAMED_VALUE_LENGTH, DamagedSchema, DatabaseUnavailable, SchemaMismatch
from storage.progress import MARK_AS_BACKUP
from storage.schema.version import DIGEST, VERSION
from storage.sqlite.wal import lost_commits

SELECT_VERSION_AND_DIGEST = """
SELECT (SELECT value FROM meta WHERE name = 'schema_version'), (SELECT value FROM meta WHERE name = 'schema_digest')
"""
_VERSION = re.compile("[0-9]{1,9}", re.ASCII)
SELECT_BOOT = "SELECT value FROM meta WHERE name = 'boot'"
RECORD_BOOT = """
INSERT INTO meta (name, value) VALUES ('boot', :boot) ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
ADD_LOST_COMMITS = """
INSERT INTO counters (name, value) VALUES ('lost_commits', :lost)
ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value
"""


def check(connection: Connection) -> None:
    """Raise SchemaMismatch unless the schema is this program's. Then check for lost commits, once per boot."""
    check_version(connection)
    check_wal_after_boot(connection, int(time.time()))


def check_version(connection: Connection) -> None:
    """Raise SchemaMismatch unless the schema is this program's. Runs a single statement."""
    require_current(connection.fetch_one(SELECT_VERSION_AND_DIGEST))


def require_current(row: Row | None) -> None:
    """Raise SchemaMismatch unless this version and digest are those of this program's schema."""
    version, digest = parsed(row)
    if version != VERSION or digest != DIGEST:
        raise SchemaMismatch(version, VERSION)


def parsed(row: Row | None) -> tuple[int, str | None]:
    """Return the version and the digest of this row. Raises DamagedSchema if the version cannot be read."""
    version, digest = row or (None, None)
    if version is None:
        raise DamagedSchema(VERSION, "it has no schema version")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        raise DamagedSchema(VERSION, f"it has no readable schema version ({repr(version)[:NAMED_VALUE_LENGTH]})")
    return int(version), digest


def version(connection: Connection) -> int:
    """Return the schema version of a database. Raises DamagedSchema if it has none."""
    return parsed(connection.fetch_one(SELECT_VERSION_AND_DIGEST))[0]


GUARD = Guard(SELECT_VERSION_AND_DIGEST, require_current)


def check_wal_after_boot(connection: Connection, now: int) -> None:
    """Once per boot, check for lost commits. If there are any, mark the database as a restored backup.

    Emails that are due according to it may already have been sent. The first process that opens the database must do
    this, because the last one to close it deletes the log that shows the loss.
    """
    if not wal_needs_check(connection):
        return
    try:
        with connection.transaction():
            check_wal(connection, now)
    except DatabaseUnavailable:
        return  # The database can still be read. The next process that can write to it checks.


def wal_needs_check(connection: Connection) -> bool:
    """Return whether `check_wal` still has to be called after the last boot. Always False without a log."""
    return connection.wal_path is not None and connection.fetch_one(SELECT_BOOT) != (boot_id(),)


def check_wal(connection: Connection, now: int) -> None:
    """Mark the database if its log has lost commits. Call this in a transaction that has written nothing yet."""
    lost = lost_commits(connection.wal_path) if connection.wal_path is not None else 0
    if lost:
        connection.execute(MARK_AS_BACKUP, now=now)
        connection.execute(ADD_LOST_COMMITS, lost=lost)
    connection.execute(RECORD_BOOT, boot=boot_id())
