"""This program on PostgreSQL, whose server is another process on the same processors. Every commit is synced."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from contenders import BODY, address
from contenders.ours import Ours, settings_for
from database import Address, Email, db_init, open_database
from settings import Settings, load_settings
from tests.support.installation import PROJECT
from tests.support.ports import unused_port
from tests.support.postgresql_server import PostgreSQLServer

SYNCED = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
TEMPLATE, RUN = "prepared", "run"


class OnPostgreSQL(Ours):
    """`python task.py` with so many connections, on PostgreSQL."""

    def __init__(self, connections: int) -> None:
        super().__init__(connections)
        self.key = f"postgresql-{connections}"
        self.name = f"the same, on PostgreSQL, {connections}"

    def prepare(self, folder: Path, messages: int) -> None:
        place = tempfile.mkdtemp()  # not `folder`, which the server's user may not reach
        self._server = PostgreSQLServer(Path(place), unused_port(), **SYNCED)
        self._server.start()
        atexit.register(self._server.stop)
        self._server.run(f"CREATE DATABASE {TEMPLATE}")
        settings = self._settings(TEMPLATE)
        now = datetime.now(UTC)
        db_init(settings, int(now.timestamp()))
        with open_database(settings) as database:
            names = map(address, range(messages))
            database.recipients.add((Address(name, name) for name in names), now)
            database.emails.save(Email(1, "Subject", BODY, now), now)

    def environment(self, folder: Path, port: int) -> Mapping[str, str]:
        """Each run has a copy of the database."""
        self._server.run(f"DROP DATABASE IF EXISTS {RUN}")
        self._server.run(f"CREATE DATABASE {RUN} TEMPLATE {TEMPLATE}")
        self._server.run("CHECKPOINT")
        return {**settings_for(folder, port, self._connections), "DATABASE_URL": self._server.url(RUN)}

    def check(self, folder: Path, messages: int) -> None:
        with open_database(self._settings(RUN)) as database:
            self._check(database, messages)

    def _settings(self, name: str) -> Settings:
        return load_settings({"DATABASE_URL": self._server.url(name)}, PROJECT)
