"""An installation for one test, used as an operator would: through its programs, files and database."""

from __future__ import annotations

import email
import email.policy
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

from database import Address, Database, Email, open_database
from settings import Settings, load_settings
from tests.support import new_database, warm_python
from tests.support.other_user import as_user

PROJECT = Path(__file__).resolve().parents[2]

TASK = (sys.executable, str(PROJECT / "task.py"))


class Installation:
    """The program with its database, outbox and log in `folder`. `settings` are environment variables."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.environment = {
            "PATH": os.environ["PATH"],
            "DATABASE_URL": f"sqlite:///{folder}/email.db",
            "EMAIL_URL": f"maildir:{folder}/outbox",
            "TASKLOG": f"{folder}/tasklog.log",
            **settings,
        }
        new_database.create(self.settings, datetime.now(UTC))

    @property
    def settings(self) -> Settings:
        return load_settings(self.environment, PROJECT)  # as `task.py` does; all paths are absolute

    def database(self) -> Database:
        """Open a new connection to the database. The caller closes it."""
        return open_database(self.settings, wait=60)

    def add_recipients(self, count: int) -> None:
        with self.database() as database:
            names = (f"r{number}@example.com" for number in range(count))
            database.recipients.add((Address(name, name) for name in names), datetime.now(UTC))

    def save_email(
        self,
        event_id: int,
        due_in: float = -1,
        subject: str = "Subject",
        content: str = "Content\n",
        saved_ago: float = 0,
    ) -> int:
        """Save an email as a POST did `saved_ago` seconds ago, and return its due time in seconds since 1970."""
        with self.database() as database:
            return self.save_into(database, event_id, due_in, subject, content, saved_ago)

    @staticmethod
    def save_into(
        database: Database,
        event_id: int,
        due_in: float,
        subject: str = "Subject",
        content: str = "Content\n",
        saved_ago: float = 0,
    ) -> int:
        """Save an email through an open connection, and return its due time in seconds since 1970."""
        due_at = int(time.time() + due_in)
        saved = Email(event_id, subject, content, datetime.fromtimestamp(due_at, UTC))
        database.emails.save(saved, datetime.now(UTC) - timedelta(seconds=saved_ago))
        return due_at

    def start_task(self, *arguments: str, user: str | None = None) -> subprocess.Popen[str]:
        """Start `task.py`, optionally as another user."""
        command = [*TASK, *arguments]
        if user:
            command = as_user(user, command)
        return subprocess.Popen(
            command, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd="/"
        )

    def task(self, *arguments: str, user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run `task.py` and wait until it exits."""
        process = self.start_task(*arguments, user=user)
        stdout, stderr = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def messages(self) -> list[EmailMessage]:
        """Return the messages in the outbox."""
        return [
            email.message_from_bytes(file.read_bytes(), policy=email.policy.default)
            for file in sorted((self.folder / "outbox" / "new").glob("*"))
        ]

    def delivered(self) -> Counter[tuple[str, str]]:
        """Return how often each (subject, recipient) is in the outbox."""
        return Counter((str(message["Subject"]), str(message["To"])) for message in self.messages())

    def log(self) -> list[str]:
        """Return the lines of `tasklog.log`."""
        path = self.folder / "tasklog.log"
        return path.read_text().splitlines() if path.exists() else []

    def statuses(self) -> Counter[str]:
        """Return the number of deliveries with each status."""
        with self.database() as database:
            rows = database.connection.fetch_all("SELECT status, COUNT(*) FROM deliveries GROUP BY status")
            return Counter(dict(rows))


class ForkingInstallation(Installation):
    """An installation that forks `task.py`, for tests that do not test how Python starts. It is faster."""

    def start_task(self, *arguments: str, user: str | None = None) -> subprocess.Popen[str]:
        """Fork `task.py` from a process that has loaded it. Its output is available when it exits."""
        if user:
            return super().start_task(*arguments, user=user)
        return warm_python.start((*TASK, *arguments), self.environment)


def subjects(event_ids: Iterable[int], recipients: int) -> Counter[tuple[str, str]]:
    """Return what `delivered` returns once these emails have each been sent to every recipient, once."""
    return Counter({(str(n), f"r{r}@example.com"): 1 for n in event_ids for r in range(recipients)})
