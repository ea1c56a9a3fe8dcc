"""The errors of SQLite and of its files, as errors of the data layer with their remedies."""

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

BESIDE = ("-wal", "-shm", "-journal")  # files that SQLite writes besides the database


def translated(path: Path, error: Exception) -> DatabaseUnavailable:
    """What a driver's error says. Extended codes have the primary one as their beginning: SQLITE_READONLY_DIRECTORY."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return DatabaseBusy("another process keeps the database locked", "try again in a moment")
    if name.startswith("SQLITE_FULL"):
        return DatabaseFull(f"no room is left for the database {path}", "free some disk space")
    if name.startswith("SQLITE_READONLY"):
        return DatabaseReadOnly(f"the database {path} cannot be written", _let_write(path))
    if name.startswith("SQLITE_NOTADB"):
        return not_a_database(path)
    if name.startswith("SQLITE_CORRUPT"):
        return DatabaseUnavailable(f"the database {path} is damaged: {error}", RESTORE_BACKUP)
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return DatabaseUnavailable(f"the database {path} cannot be opened", _let_write(path))
    if name.startswith("SQLITE_IOERR"):
        return DatabaseUnavailable(f"the disk under the database {path} fails ({name})", "is it full, or broken?")
    if "no such table" in str(error):
        return DatabaseMissing(f"the database {path} has no tables of this program", "run: flask init-db")
    if "no such column" in str(error) or "has no column named" in str(error):
        return ForeignTables(f"the database {path}", ANOTHER_FILE, str(error))
    return StatementFailed(f"the database {path} failed: {error}", REPORT_BUG)


def foreign(path: Path) -> ForeignTables:
    """The file holds tables, but not this program's."""
    return ForeignTables(f"the database {path}", ANOTHER_FILE)


def incomplete(path: Path, error: Exception) -> DatabaseMissing:
    """One of this program's tables is missing."""
    return DatabaseMissing(f"the database {path} is damaged: {error}", RESTORE_BACKUP)


def not_a_database(path: Path) -> DatabaseUnavailable:
    """A folder, or a file that SQLite cannot read."""
    return DatabaseUnavailable(f"{path} is not a database", ANOTHER_FILE)


def replaced(path: Path) -> DatabaseMissing:
    """The file is another one than it was, or none."""
    remedy = "stop the service, put the file back or run: flask init-db, and start again"
    return DatabaseMissing(f"the database {path} was deleted or replaced while in use", remedy)


def no_lock_file(path: Path, error: OSError) -> DatabaseReadOnly:
    """A file beside the database cannot be created, or belongs to another user."""
    reason = f"the database cannot be written: {error.filename or path} cannot be opened ({error.strerror})"
    return DatabaseReadOnly(reason, _let_write(path, *([Path(error.filename)] if error.filename else [])))


def not_created(path: Path, error: OSError) -> DatabaseUnavailable:
    """The file cannot be created or opened."""
    done = "opened" if path.exists() else "created"
    return DatabaseUnavailable(f"the database {path} cannot be {done}: {error.strerror}", _let_write(path))


def not_reached(path: Path, error: OSError) -> DatabaseUnavailable:
    """The path leads nowhere, or a folder on the way to the file cannot be entered."""
    remedy = "correct DATABASE_URL"
    if isinstance(error, PermissionError):
        closed = next((folder for folder in reversed(path.parents) if not os.access(folder, os.X_OK)), path.parent)
        remedy = f"let this user enter the folder {closed}"
    return DatabaseUnavailable(f"the database {path} cannot be reached: {error.strerror}", remedy)


def _let_write(path: Path, *others: Path) -> str:
    named = " and ".join(_not_writable(path, others))
    return f"let this user write to {named or f'{path} and to the folder it is in'}"


def _not_writable(path: Path, others: tuple[Path, ...]) -> Iterator[str]:
    for file in (path, *(path.with_name(path.name + end) for end in BESIDE), *others):
        if os.access(file, os.F_OK) and not os.access(file, os.R_OK | os.W_OK):
            yield str(file)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        yield f"the folder {path.parent}"
