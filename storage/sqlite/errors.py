"""The errors of SQLite and of its files, as errors of the data layer with their remedies."""

from __future__ import annotations

from pathlib import Path

from storage.errors import (
    DatabaseBusy,
    DatabaseFull,
    DatabaseMissing,
    DatabaseReadOnly,
    DatabaseUnavailable,
)


def translated(path: Path, error: Exception) -> DatabaseUnavailable:
    """What a driver's error says. Extended codes have the primary one as their beginning: SQLITE_READONLY_DIRECTORY."""
    name = getattr(error, "sqlite_errorname", "")
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return DatabaseBusy("another process keeps the database locked", "try again in a moment")
    if name.startswith("SQLITE_FULL"):
        return DatabaseFull(f"no room is left for the database {path}", "free some disk space")
    if name.startswith("SQLITE_READONLY"):
        return DatabaseReadOnly(f"the database {path} cannot be written", _let_write(path))
    if name.startswith(("SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
        return DatabaseUnavailable(f"the database {path} cannot be opened", _let_write(path))
    if name.startswith("SQLITE_IOERR"):
        return DatabaseUnavailable(f"the disk under the database {path} fails ({name})", "is it full, or broken?")
    if "no such table" in str(error):
        return DatabaseMissing(f"the database {path} has no tables of this program", "run: flask init-db")
    return DatabaseUnavailable(f"the database {path} failed: {error}", "see docs/architecture.md, Storage")


def replaced(path: Path) -> DatabaseMissing:
    """The file is another one than it was, or none."""
    remedy = "stop the service, put the file back or run: flask init-db, and start again"
    return DatabaseMissing(f"the database {path} was deleted or replaced while in use", remedy)


def no_lock_file(path: Path, error: OSError) -> DatabaseReadOnly:
    """A file beside it cannot be made, or is another user's."""
    reason = f"the database cannot be written: {error.filename or path} cannot be opened ({error.strerror})"
    return DatabaseReadOnly(reason, _let_write(path))


def not_made(path: Path, error: Exception) -> DatabaseUnavailable:
    """The file cannot be made."""
    return DatabaseUnavailable(f"the database {path} cannot be made: {error}", _let_write(path))


def not_seen(path: Path) -> DatabaseUnavailable:
    """The file may be there, but cannot be seen."""
    return DatabaseUnavailable(f"the database {path} cannot be looked at", _let_write(path))


def _let_write(path: Path) -> str:
    return f"let this user write to {path} and to the folder it is in"
