"""Check the database: reachable, writable, current, undamaged, and run by a version without known bugs."""

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
    """Run the quick database checks."""
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
                text = "restored from a backup: due and partly sent emails are put on hold when sending starts"
                yield warning("database", text, "then review them: flask emails list --status held")
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
        return  # opening the database reports why
    if status.st_uid != os.geteuid():
        text = f"{path} belongs to user {status.st_uid}, but you are user {os.geteuid()}"
        yield warning("database", text, "run everything as that user")
    if status.st_mode & 0o077:
        yield warning("database", f"other users can read {path}", f"chmod 600 {path}")
    wal = path.with_name(path.name + "-wal")
    if wal.exists() and wal.stat().st_size > LARGE_WAL:
        text = (
            f"{wal.name} has grown to {wal.stat().st_size / 1000**2:,.0f} MB: a program keeps a read transaction open"
        )
        yield warning("database", text, f"find it with: fuser -v {path}")


def known_faults(product: str) -> Finding:
    """Return the finding for a version of SQLite or PostgreSQL: whether it has a known bug or is too old."""
    name, _, number = product.partition(" ")
    version = tuple(map(int, re.findall("[0-9]+", number)))
    if name == "SQLite" and version < WAL_RESET_FIXED:
        text = f"{product} has the WAL-reset bug, which in rare cases corrupts a database; fixed in 3.51.3"
        return warning(
            "version", text, "pip install -r requirements.txt installs a newer one (pysqlite3) on most machines"
        )
    if name == "PostgreSQL" and version < OLDEST_POSTGRESQL:
        return warning("version", f"{product} is not supported", "upgrade to PostgreSQL 15 or later")
    return ok("version", f"{product}: no known problems")


def check_damage(settings: Settings) -> Iterator[Finding]:
    """Read the database file to find damage, for at most DAMAGE_CHECK_SECONDS."""
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
        yield error("database", f"damaged: {damage[0]}", RESTORE_BACKUP)
    elif damage is None:
        yield ok(
            "database",
            f"no damage found in {DAMAGE_CHECK_SECONDS:.0f} s (flask backup checks the whole file)",
        )


def _written(database: Database) -> Finding:
    database.health.prove_writable()
    return ok("database", "writable")
