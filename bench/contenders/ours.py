"""This program: one email that is due. `python task.py` makes the deliveries, claims, renders, sends and records."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from contenders import BODY, Contender
from database import Database
from tests.support.installation import PROJECT, Installation


class Ours(Contender):
    """`python task.py` with so many connections; with `links`, each message has its link to unsubscribe."""

    def __init__(self, connections: int, *, links: bool = False) -> None:
        self.key = f"ours-{connections}" + "-links" * links
        self.name = f"task.py, {connections}, links" if links else f"task.py, {connections} connections"
        self._connections = connections
        self._links = links

    def prepare(self, folder: Path, messages: int) -> None:
        installation = Installation(folder)
        installation.add_recipients(messages)
        installation.save_email(1, content=BODY)

    def command(self, folder: Path, port: int, messages: int) -> list[str]:
        return [sys.executable, str(PROJECT / "task.py")]

    def environment(self, folder: Path, port: int) -> Mapping[str, str]:
        public = {"PUBLIC_URL": "https://mail.example.com"} if self._links else {}
        return settings_for(folder, port, self._connections) | public

    def check(self, folder: Path, messages: int) -> None:
        with Installation(folder).database() as database:
            self._check(database, messages)

    def _check(self, database: Database, messages: int) -> None:
        progress = database.progress.get(1)
        if progress is None or progress.sent != messages:
            raise SystemExit(f"{self.name}: not everything was sent: {progress}")


def settings_for(folder: Path, port: int, connections: int, scheme: str = "smtp") -> dict[str, str]:
    """The environment of an installation that sends as fast as it can."""
    return {
        "DATABASE_URL": f"sqlite:///{folder}/email.db",
        "TASKLOG": f"{folder}/tasklog.log",
        "EMAIL_URL": f"{scheme}://127.0.0.1:{port}",
        "SMTP_CONNECTIONS": str(connections),
        "SMTP_MESSAGES_PER_CONNECTION": "0",
    }
