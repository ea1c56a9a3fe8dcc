"""Translate the errors of SQLite and of its files into errors of the data layer, with remedies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from storage.errors import (
    ANOTHER_FILE,
    REPORT_BUG,
    RESTORE_BACKUP,
    DatabaseBusy,
    DatabaseFull,
    DatabaseMissing,
    DatabaseReadOnly,
    DatabaseUnavailable,
    ForeignTables,
    StatementFailed,
)

COMPANION_SUFFIXES = ("-wal", "-shm", "-journal")  # suffixes of the files that SQLite creates next to the database


def translated(path: Path, error: Exception) -> DatabaseUnavailable:
    """Translate an error of the driver. Extended codes begin with the primary one, as in SQLITE_READONLY_DIRECTORY."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return DatabaseBusy("the database is locked by another process", "try again in a moment")
    if name.startswith("SQLITE_FULL"):
        return DatabaseFull(f"the disk is full, or the database {path} has reached its size limit", "free some space")
    if name.startswith("SQLITE_READONLY"):
        return DatabaseReadOnly(f"cannot write to the database {path}", _grant_write_access(path))
    if name.startswith("SQLITE_NOTADB"):
        return not_a_database(path)
    if name.startswith("SQLITE_CORRUPT"):
        return DatabaseUnavailable(f"the database {path} is damaged: {error}", RESTORE_BACKUP)
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return DatabaseUnavailable(f"cannot open the database {path}", _grant_write_access(path))
    if name.startswith("SQLITE_IOERR"):
        remedy = "check whether the disk is full or failing"
        return DatabaseUnavailable(f"disk error on the database {path} ({name})", remedy)
    if "no such table" in str(error):
        return DatabaseMissing(f"the database {path} is not initialised", "run: flask init-db")
    if "no such column" in str(error) or "has no column named" in str(error):
        return ForeignTables(f"the database {path}", ANOTHER_FILE, str(error))
    return StatementFailed(f"the database {path} failed: {error}", REPORT_BUG)


def foreign(path: Path) -> ForeignTables:
    """Return the error for a file with tables that are not this program's."""
    return ForeignTables(f"the database {path}", ANOTHER_FILE)


def incomplete(path: Path, error: Exception) -> DatabaseMissing:
    """Return the error for a database in which one of this program's tables is missing."""
    return DatabaseMissing(f"the database {path} is damaged: {error}", RESTORE_BACKUP)


def not_a_database(path: Path) -> DatabaseUnavailable:
    """Return the error for a folder, or a file that SQLite cannot read."""
    return DatabaseUnavailable(f"{path} is not a database", ANOTHER_FILE)


def replaced(path: Path) -> DatabaseMissing:
    """Return the error for a file that was deleted or replaced."""
    remedy = "stop the service, put the file back or run: flask init-db, and start again"
    return DatabaseMissing(f"the database {path} was deleted or replaced while in use", remedy)


def no_lock_file(path: Path, error: OSError) -> DatabaseReadOnly:
    """Return the error for a file next to the database that cannot be created, or belongs to another user."""
    reason = f"cannot write to the database: cannot open {error.filename or path} ({error.strerror})"
    return DatabaseReadOnly(reason, _grant_write_access(path, *([Path(error.filename)] if error.filename else [])))


def not_created(path: Path, error: OSError) -> DatabaseUnavailable:
    """Return the error for a file that cannot be created or opened."""
    do = "open" if path.exists() else "create"
    return DatabaseUnavailable(f"cannot {do} the database {path}: {error.strerror}", _grant_write_access(path))


def not_reached(path: Path, error: OSError) -> DatabaseUnavailable:
    """Return the error for a path that does not exist, or leads through a folder that cannot be entered."""
    remedy = "correct DATABASE_URL"
    if isinstance(error, PermissionError):
        closed = next((folder for folder in reversed(path.parents) if not os.access(folder, os.X_OK)), path.parent)
        remedy = f"let this user enter the folder {closed}"
    return DatabaseUnavailable(f"cannot access the database {path}: {error.strerror}", remedy)


def _grant_write_access(path: Path, *others: Path) -> str:
    named = " and ".join(_not_writable(path, others))
    return f"give this user write access to {named or f'{path} and its folder'}"


def _not_writable(path: Path, others: tuple[Path, ...]) -> Iterator[str]:
    for file in (path, *(path.with_name(path.name + end) for end in COMPANION_SUFFIXES), *others):
        if os.access(file, os.F_OK) and not os.access(file, os.R_OK | os.W_OK):
            yield str(file)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        yield f"the folder {path.parent}"
