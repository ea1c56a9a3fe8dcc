"""Databases that earlier programs created, from the dumps in `tests/storage/dumps`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg

from settings import Settings
from storage.connection import Connection, Row
from storage.copying import TABLES
from storage.postgresql.connection import PostgreSQLConnection
from storage.schema import upgrading, version
from storage.sqlite.connection import SQLiteConnection, create_file, driver  # type: ignore[attr-defined]

DUMPS = Path(__file__).resolve().parents[2] / "storage" / "dumps"
VERSION_1, DEVELOPMENT = "00cd4d7", "43d45c3"
ALL_TABLES = (*TABLES, "status_counts", "senders", "sender_errors", "unreachable_addresses", "host_clocks")
OLD_NAMES = {"status_counts": "counts", "hourly_stats": "hours"}  # until version 2

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


def load_version(settings: Settings, number: int) -> None:
    """Load the dump of version 1, upgraded to an earlier version as the program of that version did it."""
    load(settings, VERSION_1)
    with closing(connect(settings)) as connection, connection.transaction():
        upgrading.migrate(connection, range(2, number + 1))
        recorded = {"schema_version": str(number), "schema_digest": version.DIGESTS.get(number)}
        for name, value in recorded.items():
            connection.execute("UPDATE meta SET value = :value WHERE name = :name", name=name, value=value)


def content(connection: Connection) -> Content:
    """Return every row of every table, sorted, by the table's present name."""
    existing = {part.table for part in connection.structure()}
    names = {table: table if table in existing else OLD_NAMES.get(table) for table in ALL_TABLES}
    return {
        table: sorted(connection.fetch_all(f"SELECT * FROM {name}"), key=repr)
        for table, name in names.items()
        if name in existing
    }
