"""This program on PostgreSQL, whose server is another process on the same processors. Every commit is synced."""

from __future__ import annotations

import atexit
import tempfile
from collections.abc import Mapping
from pathlib import Path

from contenders.ours import Ours, settings_for
from tests.support.installation import PROJECT
from tests.support.ports import unused_port
from tests.support.servers.postgresql_server import PostgreSQLServer

SYNCED = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
TEMPLATE, RUN = "prepared", "run"


class OnPostgreSQL(Ours):
    """`python task.py` on PostgreSQL, with this many connections."""

    def __init__(self, connections: int, *, checkout: Path = PROJECT) -> None:
        super().__init__(connections, checkout=checkout)
        self.key = self.key.replace("ours", "postgresql")
        self.name = self.name.replace("task.py", "PostgreSQL")

    def of_checkout(self, checkout: Path) -> OnPostgreSQL:
        return OnPostgreSQL(self._connections, checkout=checkout)

    def prepare(self, folder: Path, messages: int) -> None:
        place = tempfile.mkdtemp()  # not `folder`, which the server's user may not reach
        self._server = PostgreSQLServer(Path(place), unused_port(), **SYNCED)
        self._server.start()
        atexit.register(self._server.stop)
        self._server.run(f"CREATE DATABASE {TEMPLATE}")
        self._prepare(self._settings(TEMPLATE), messages)

    def environment(self, folder: Path, port: int) -> Mapping[str, str]:
        """Each run has a copy of the database."""
        self._server.run(f"DROP DATABASE IF EXISTS {RUN}")
        self._server.run(f"CREATE DATABASE {RUN} TEMPLATE {TEMPLATE}")
        self._server.run("CHECKPOINT")
        return {**settings_for(folder, port, self._connections), "DATABASE_URL": self._server.url(RUN)}

    def check(self, folder: Path, messages: int) -> None:
        self._check(self._settings(RUN), messages)

    def _settings(self, name: str) -> dict[str, str]:
        return {"DATABASE_URL": self._server.url(name)}
