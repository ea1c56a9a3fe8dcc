"""Which schema a database has, and whether this program can use it.

A database records its schema in two rows of `meta`: `schema_version`, and `schema_digest`, the digest of the SQL that
creates it. The version says which migrations it needs. The digest tells apart two development versions that claim
the same number. `require_current` is the one rule: both must be this program's.

The rule is applied

- when a database is opened: by the web server, `task.py`, `flask check` and every other command (`check`);
- at every probe (`check`) and at the start of every sweep of a sender that keeps running (`check_version`);
- as the first statement of every transaction on an open database (`GUARD`). A database that was upgraded, or replaced
  by one of another version, while a process had it open is never written to. On PostgreSQL an upgrade waits for
  transactions that have read `meta`; on SQLite there is one writer at a time. So nothing falls in between.

Creating and upgrading is in `storage/upgrading.py`, which only `flask init-db` and `./start_flask.sh` load.
"""

from __future__ import annotations

import time

from storage.clock import boot_id
from storage.connection import Connection, Guard, Row
from storage.errors import DatabaseMissing, DatabaseUnavailable, SchemaMismatch
from storage.progress import MARK

VERSION = 2
DIGESTS = {2: "e393190d2aba5627"}  # of each version that records one
DIGEST = DIGESTS[VERSION]
FOUND = """
SELECT (SELECT value FROM meta WHERE name = 'schema_version'), (SELECT value FROM meta WHERE name = 'schema_digest')
"""
SEEN = "SELECT value FROM meta WHERE name = 'boot'"
SEE = """
INSERT INTO meta (name, value) VALUES ('boot', :boot) ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
LOST = """
INSERT INTO counters (name, value) VALUES ('lost_commits', :lost)
ON CONFLICT (name) DO UPDATE SET value = counters.value + excluded.value
"""


def check(connection: Connection) -> None:
    """Raise SchemaMismatch or DatabaseMissing unless the schema is this program's; then check the disk."""
    check_version(connection)
    look_after_boot(connection, int(time.time()))


def check_version(connection: Connection) -> None:
    """Raise SchemaMismatch or DatabaseMissing unless the schema is this program's. One statement."""
    require_current(connection.row(FOUND))


def require_current(row: Row | None) -> None:
    """Raise SchemaMismatch or DatabaseMissing unless this row of FOUND is this program's schema."""
    version, digest = parsed(row)
    if version != VERSION or digest != DIGEST:
        raise SchemaMismatch(version, VERSION)


def parsed(row: Row | None) -> tuple[int, str | None]:
    """Return the version and the digest in a row of FOUND. Raises DatabaseMissing if there is no version."""
    if row is None or row[0] is None:
        raise DatabaseMissing("the database has no schema version", "run: flask init-db")
    return int(row[0]), row[1]


def version(connection: Connection) -> int:
    """Return the schema version of a database. Raises DatabaseMissing if it has none."""
    return parsed(connection.row(FOUND))[0]


GUARD = Guard(FOUND, require_current)


def look_after_boot(connection: Connection, now: int) -> None:
    """Once after each start of the machine: mark a database that has lost commits as a backup is marked.

    What it is about to send may have been sent. By whoever opens it first: who closes it last removes the log in which
    that can be seen.
    """
    if not needs_look(connection):
        return
    try:
        with connection.transaction():
            look(connection, now)
    except DatabaseUnavailable:
        return  # it can be read at least; the next one who can write looks


def needs_look(connection: Connection) -> bool:
    """Return whether nobody has called `look` since the machine was started."""
    return connection.log is not None and connection.row(SEEN) != (boot_id(),)


def look(connection: Connection, now: int) -> None:
    """Mark the database if its log has lost commits. Inside a transaction that has written nothing yet."""
    from storage.wal import lost_commits

    lost = lost_commits(connection.log) if connection.log is not None else 0
    if lost:
        connection.run(MARK, now=now)
        connection.run(LOST, lost=lost)
    connection.run(SEE, boot=boot_id())
