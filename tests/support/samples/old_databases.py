"""Databases that earlier programs created, from the dumps in `tests/storage/dumps`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg

from settings import Settings
from storage.connection import Connection, Row
from storage.copying import TABLES
from storage.postgresql.connection import PostgreSQLConnection
from storage.schema import upgrading
from storage.schema.structure import differences
from storage.sqlite.connection import SQLiteConnection, create_file, driver  # type: ignore[attr-defined]

DUMPS = Path(__file__).resolve().parents[2] / "storage" / "dumps"
VERSION_1, DEVELOPMENT = "00cd4d7", "43d45c3"
ALL_TABLES = (*TABLES, "counts", "senders")

Content = dict[str, list[Row]]


def connect(settings: Settings) -> Connection:
    if settings.database_path is None:
        return PostgreSQLConnection(settings.database_url, settings.folder)
    create_file(settings.database_path)
    return SQLiteConnection(settings.database_path)


def load(settings: Settings, commit: str) -> None:
    """Load the dump of a database that the program of this commit created."""
    if settings.database_path is None:
        lines = (DUMPS / f"{commit}.postgresql.sql").read_text().splitlines(keepends=True)
        # Leave out lines that only psql or only some server versions understand.
        script = "".join(line for line in lines if not line.startswith(("\\", "SET ", "SELECT pg_catalog.set_config")))
        with psycopg.connect(settings.database_url, autocommit=True) as server:
            server.execute(script.encode())
        return
    create_file(settings.database_path)
    with closing(driver.connect(settings.database_path)) as file:
        file.executescript((DUMPS / f"{commit}.sqlite.sql").read_text())


def content(connection: Connection) -> Content:
    """Return every row of every table, sorted."""
    return {
        table: sorted(connection.fetch_all(f"SELECT * FROM {table}"), key=repr)
        for table in ALL_TABLES
        if f"table {table} is missing" not in missing_tables(connection)
    }


def missing_tables(connection: Connection) -> list[str]:
    with connection.transaction():
        return differences(connection.structure_of(upgrading.script(1, connection.engine)), connection.structure())
