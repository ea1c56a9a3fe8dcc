"""New databases for tests that do not test how a database is created.

`create` does what `db_init` does in a fraction of the time. It copies a database that `db_init` has created, and gives
the copy its own secret key, installation and time of the last sweep, as `db_init` does.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psycopg

from database import db_init
from settings import Settings, load_settings
from storage.sqlite.driver import driver
from storage.values import epoch_seconds
from tests.support.servers.postgresql_server import PostgreSQLServer

_unused: set[str] = set()  # the URLs of copies on PostgreSQL that `create` has not been called for


def create(settings: Settings, now: datetime) -> None:
    """Create the database of these settings, as `db_init` does. An existing database is upgraded by `db_init`."""
    path, url = settings.database_path, settings.database_url
    if path is not None and path.parent.is_dir() and not os.path.lexists(path):
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_sqlite_file())
        with closing(driver.connect(path)) as connection:
            connection.executescript(_own_values(now))
    elif url in _unused:
        _unused.remove(url)
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(_own_values(now).encode())
    else:
        db_init(settings, now)


def ready_database(server: PostgreSQLServer) -> str:
    """Create a database with the tables, and return its URL. `create` gives it values of its own."""
    url = server.new_database(_template(server))
    _unused.add(url)
    return url


def _own_values(now: datetime) -> str:
    return f"""
        BEGIN;
        UPDATE meta SET value = '{os.urandom(32).hex()}' WHERE name = 'secret_key';
        UPDATE meta SET value = '{os.urandom(8).hex()}' WHERE name = 'installation';
        UPDATE counters SET value = {epoch_seconds(now)} WHERE name = 'last_sweep_at';
        COMMIT;
    """


@cache
def _sqlite_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        db_init(load_settings({}, Path(folder)), datetime.now(UTC))
        (file,) = Path(folder).glob("*.db")
        return file.read_bytes()


@cache
def _template(server: PostgreSQLServer) -> str:
    """Return the name of a database that `db_init` has created, and that has no open connections."""
    url = server.new_database()
    db_init(load_settings({"DATABASE_URL": url}, Path()), datetime.now(UTC))
    return url.rpartition("/")[2]
