"""Translate the errors of psycopg into errors of the data layer, with remedies."""

from __future__ import annotations

import re

import psycopg

from storage.errors import (
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

ANOTHER_SCHEMA = "set DATABASE_URL to another database or schema, or restore a backup (docs/backup.md, Restore)"

# By SQLSTATE (Appendix A of the PostgreSQL manual), because psycopg's OperationalError covers very different errors.
SQLSTATE_ERRORS: tuple[tuple[tuple[str, ...], type[DatabaseUnavailable], str], ...] = (
    (("55P03", "57014", "40001", "40P01", "53300"), DatabaseBusy, "try again in a moment"),
    (("53100",), DatabaseFull, "free some disk space on the server"),
    (
        ("25006", "42501"),
        DatabaseReadOnly,
        "give the user of DATABASE_URL write access to this database, on the primary server",
    ),
    (("42P01",), DatabaseMissing, RESTORE_BACKUP),
    (("3D000",), DatabaseMissing, "create the database (createdb), then run: flask init-db"),
    (("3F",), DatabaseMissing, "create the schema, or correct search_path in DATABASE_URL"),
    (("22P05",), DatabaseUnavailable, "create the database with --encoding UTF8; this one cannot store all text"),
    (("28",), DatabaseUnavailable, "check the user name and password in DATABASE_URL"),
)
# A table, type or function with that name already exists, or a table has different columns.
NAME_CLASHES = ("42P07", "42710", "42723", "42703")
CONNECTION_LOST = ("08", "25P03", "53", "57", "58", "XX")
_META = re.compile(r"\bmeta\b")
_NO_TEMPORARY_TABLES = re.compile(r'temporary tables in database ("[^"]+")')
# libpq does not report an SQLSTATE for a connection that was refused.
CONNECTION_ERRORS = (
    ("authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("too many clients", "53300"),
    ("remaining connection slots", "53300"),
    ("does not exist", "3D000"),
)


def translated(error: psycopg.Error) -> DatabaseUnavailable:
    """Return the error with its remedy, on one line. libpq's messages never contain a password."""
    said = " ".join(str(error).split())
    code = error.sqlstate or next((code for words, code in CONNECTION_ERRORS if words in said), "")
    if code in NAME_CLASHES:
        return ForeignTables("the database", ANOTHER_SCHEMA, said)
    if code == "42P01" and _META.search(said):
        return DatabaseMissing(f"PostgreSQL: {said}", "run: flask init-db")
    if code == "42501" and (database := _NO_TEMPORARY_TABLES.search(said)):
        grant = f"GRANT TEMPORARY ON DATABASE {database[1]} TO the user of DATABASE_URL"
        return DatabaseReadOnly(f"PostgreSQL: {said}", f"as the owner of the database, run: {grant}")
    for prefixes, make, remedy in SQLSTATE_ERRORS:
        if code.startswith(prefixes):
            return make(f"PostgreSQL: {said}", remedy)
    if code and not code.startswith(CONNECTION_LOST):
        return StatementFailed(f"PostgreSQL: {said}", REPORT_BUG)
    return DatabaseUnavailable(f"PostgreSQL: {said}", "check the server and DATABASE_URL")
