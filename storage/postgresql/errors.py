"""What psycopg raises, as an error of the data layer."""

from __future__ import annotations

import psycopg

from storage.errors import (
    DatabaseBusy,
    DatabaseFull,
    DatabaseMissing,
    DatabaseReadOnly,
    DatabaseUnavailable,
)

# By SQLSTATE (PostgreSQL's Appendix A), not by class: psycopg's OperationalError has very different ones in it.
ERRORS: tuple[tuple[tuple[str, ...], type[DatabaseUnavailable], str], ...] = (
    (("55P03", "57014", "40001", "40P01", "53300"), DatabaseBusy, "try again in a moment"),
    (("53100",), DatabaseFull, "free some disk space on the server"),
    (
        ("25006", "42501"),
        DatabaseReadOnly,
        "let the user of DATABASE_URL write to this database, on the primary server",
    ),
    (("42P01", "42703"), DatabaseMissing, "run: flask init-db"),
    (("3D000",), DatabaseMissing, "make the database (createdb), then run: flask init-db"),
    (("28",), DatabaseUnavailable, "check user and password in DATABASE_URL"),
)
# libpq tells no SQLSTATE of a connection that was refused.
REFUSALS = (
    ("authentication failed", "28P01"),
    ("no password supplied", "28P01"),
    ("too many clients", "53300"),
    ("remaining connection slots", "53300"),
    ("does not exist", "3D000"),
)


def translated(error: psycopg.Error) -> DatabaseUnavailable:
    """The error with its remedy, in one line; libpq puts no password into its texts."""
    said = " ".join(str(error).split())
    code = error.sqlstate or next((code for words, code in REFUSALS if words in said), "")
    for prefixes, make, remedy in ERRORS:
        if code.startswith(prefixes):
            return make(f"PostgreSQL: {said}", remedy)
    return DatabaseUnavailable(f"PostgreSQL: {said}", "is the server running, and DATABASE_URL right?")
