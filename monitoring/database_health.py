"""The database: reachable, writable, of this program's version, whole, and its program without known faults."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from database import RESTORE_BACKUP, Database, DatabaseUnavailable, open_database
from monitoring.finding import Finding, error, ok, warning
from settings import Settings

DAMAGE_CHECK_SECONDS = 5.0  # for reading through the whole file
LARGE_WAL = 256 * 1024**2
WAL_RESET_FIXED = (3, 51, 3)  # https://sqlite.org/wal.html#the_wal_reset_bug
OLDEST_POSTGRESQL = (15,)


def check_database(settings: Settings) -> Iterator[Finding]:
    """Everything about the database that takes no time."""
    if settings.database_path is not None:
        yield from _file(settings.database_path)
    try:
        with open_database(settings) as database:
            info = database.info()
            yield ok(
                "database", f"{settings.database_name}: {info.server_version}, schema version {info.schema_version}"
            )
            yield known_faults(info.server_version)
            if info.backup_made_at is not None:
                text = "it was restored from a backup: the next sweep holds what was begun or due in it"
                yield warning("database", text, "then look at: flask emails list --status held")
            database.health.check_counters()
            yield _written(database)
    except DatabaseUnavailable as failure:
        yield error("database", failure.reason, failure.remedy)


def _file(path: Path) -> Iterator[Finding]:
    """Check the owner and mode of the file, and the size of its WAL."""
    if os.name != "posix":
        return
    try:
        status = path.stat()
    except OSError:
        return  # opening it says why
    if status.st_uid != os.geteuid():
        text = f"{path} belongs to another user ({status.st_uid}) than you ({os.geteuid()})"
        yield warning("database", text, "run this, and all of the service, as that user")
    if status.st_mode & 0o077:
        yield warning("database", f"other users can read {path}", f"chmod 600 {path}")
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size > LARGE_WAL:
        text = f"{wal.name} has grown to {wal.stat().st_size / 1000**2:,.0f} MB: some program reads without an end"
        yield warning("database", text, f"find it with: fuser -v {path}")


def known_faults(product: str) -> Finding:
    """The finding for the version of SQLite or PostgreSQL: whether it has a known bug that loses data."""
    name, _, number = product.partition(" ")
    version = tuple(map(int, re.findall("[0-9]+", number)))
    if name == "SQLite" and version < WAL_RESET_FIXED:
        text = f"{product} has the WAL-reset fault, which in rare cases damages a database; 3.51.3 has not"
        return warning(
            "version", text, "pip install -r requirements.txt brings a newer one (pysqlite3) on most machines"
        )
    if name == "PostgreSQL" and version < OLDEST_POSTGRESQL:
        return warning("version", f"{product} is older than any that this program is tested with", "upgrade it to 15")
    return ok("version", f"{product} has no fault that is known to this program")


def check_damage(settings: Settings) -> Iterator[Finding]:
    """Read through the whole database, which takes seconds."""
    try:
        database = open_database(settings)
    except DatabaseUnavailable:
        return  # check_database reports it
    try:
        with database:
            damage = database.health.integrity_check(DAMAGE_CHECK_SECONDS)
    except DatabaseUnavailable as failure:
        yield error("database", failure.reason, failure.remedy)
        return
    if damage:
        yield error("database", f"it is damaged: {damage[0]}", RESTORE_BACKUP)
    elif damage is None:
        yield ok(
            "database",
            f"{DAMAGE_CHECK_SECONDS:.0f} s of looking through it found no damage (flask backup looks at all of it)",
        )


def _written(database: Database) -> Finding:
    database.health.prove_writable()
    return ok("database", "it can be written")
