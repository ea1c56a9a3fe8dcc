"""The SQLite driver: pysqlite3 if it is installed, because it bundles a newer SQLite than most systems have."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3 as driver
else:
    try:
        from pysqlite3 import dbapi2 as driver
    except ImportError:
        import sqlite3 as driver

__all__ = ["driver", "file_uri"]


def file_uri(path: object, mode: str = "rw") -> str:
    """Return the URI of a database file. `mode` is `rw` or `ro`, as in SQLite's URIs."""
    escaped = str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return f"file:{escaped}?mode={mode}"
