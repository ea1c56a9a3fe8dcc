"""Back up a SQLite database while it is in use: all or nothing, marked as a backup, and verified."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.connection import Connection
from storage.copying import TABLES
from storage.errors import DBError
from storage.progress import ProgressTable
from storage.schema import guard
from storage.sqlite.connection import SQLiteConnection

LOG_SUFFIXES = ("-wal", "-journal")  # SQLite would apply such files to a database with their name


class BackupRefused(DBError):
    """No backup was made, and the target file is unchanged. The text gives the reason."""


def back_up(connection: Connection, target: Path, now: int) -> dict[str, int]:
    """Copy the database to the file `target`, which only its owner can read. Return the number of rows by table.

    Other processes can read and write meanwhile. Raises BackupRefused, or OSError for the target file.
    """
    if not isinstance(connection, SQLiteConnection):
        raise BackupRefused("flask backup supports SQLite only; back up PostgreSQL with pg_dump (docs/backup.md)")
    target = target.resolve()
    _check_target(connection, target)
    with _folder_beside(target) as folder:
        copy = folder / target.name
        copy.touch(mode=0o600)
        rows = _fill(connection, copy, now)
        _sync(copy)
        copy.replace(target)
        _sync(target.parent)
    return rows


def _check_target(connection: SQLiteConnection, target: Path) -> None:
    if target.exists():
        if not target.is_file():
            raise BackupRefused(f"{target} is not a regular file")
        if connection._path.samefile(target):
            raise BackupRefused(f"{target} is the database itself")
    for name in (target.with_name(target.name + end) for end in LOG_SUFFIXES):
        if name.exists() and name.stat().st_size:
            reason = "belongs to an earlier database at this path; if nothing uses it, delete it and try again"
            raise BackupRefused(f"{name} {reason}")


@contextmanager
def _folder_beside(target: Path) -> Iterator[Path]:
    """Context manager: a private folder on the same disk, which is deleted with everything that SQLite puts into it."""
    folder = target.with_name(f".{target.name}.{os.urandom(8).hex()}")
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()


def _fill(source: SQLiteConnection, path: Path, now: int) -> dict[str, int]:
    copy = SQLiteConnection(path)
    try:
        source.copy_into(copy)
        ProgressTable(copy).mark_as_backup(now)
        _check_integrity(copy)
        return {table: _count(copy, table) for table in TABLES}
    finally:
        copy.close()  # moves the rest of the WAL into the file


def _check_integrity(copy: SQLiteConnection) -> None:
    guard.check(copy)
    found = [str(row[0]) for row in copy.fetch_all("PRAGMA integrity_check(5)")]
    if found != ["ok"]:
        raise BackupRefused(f"the database is damaged, and no backup was made: {'; '.join(found)}")


def _count(copy: Connection, table: str) -> int:
    ((count,),) = copy.fetch_all(f"SELECT COUNT(*) FROM {table}")  # noqa: S608 - a name of our own
    return int(count)


def _sync(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # Windows cannot open folders
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
