"""This program. `python task.py` sends one due email: it creates, claims, renders, sends and records the deliveries."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from contenders import BODY, Contender, address
from tests.support.environment import CLEAN_ENVIRONMENT
from tests.support.installation import PROJECT

# Runs in the checkout that is measured, which may be another commit.
PREPARE = """
import sys
from datetime import UTC, datetime
from database import Address, Email, open_database
from settings import load_settings

content, fields, lists = sys.argv[1], sys.argv[2], int(sys.argv[3])
now = datetime.now(UTC)
with open_database(load_settings()) as database:
    addresses = [Address(name, name) for name in sys.stdin.read().split()]
    database.recipients.add(addresses, now)
    options = {}
    if lists:
        from database import Audience
        names = [f"list-{number}" for number in range(lists)]
        for number, name in enumerate(names):
            database.lists.add(name, now)
            database.lists.add_members(name, addresses[number::lists], now, "program")
        if lists > 1:
            database.lists.add("excluded", now)
            few = [Address(name, name) for name in (f"x{number}@example.com" for number in range(100))]
            for name in ("excluded", names[0]):
                database.lists.add_members(name, few, now, "program")
        options["audience"] = Audience(tuple(names), ("excluded",) if lists > 1 else ())
    database.emails.save(Email(1, "Subject", content, now, **options), now)
    if fields:
        with database.connection.transaction():
            database.connection.execute("UPDATE recipients SET fields = :fields", fields=fields)
            database.connection.execute("UPDATE emails SET personal = 1")
    if hasattr(database, "search_index"):  # Sweeps fill it while nothing is due. Older commits have none.
        database.search_index.update(lambda: True)
"""
HTML = (
    "<!DOCTYPE html><html><body><h1>Welcome</h1>\n"
    + "<p>We look forward to seeing you at the conference. Doors open at nine.</p>\n" * 20
    + '<p>Dear {name} of {company}, here is <a href="https://example.com/t/{ticket}">your ticket</a>.</p></body></html>'
)
VALUES = {"name": "Ada Lovelace", "company": "Analytical Engines", "ticket": "AB12-3456"}


class Ours(Contender):
    """`python task.py` with this many connections. With `links`, each message has an unsubscribe link.

    `content` is `text`, `html`, or `fields`: the same HTML, with three personal fields in place of three words. With
    `lists`, the email goes to as many lists instead of everyone; if there are several, less another one.
    `checkout`: the folder of another commit of this program, to compare with it.
    """

    def __init__(
        self, connections: int, *, links: bool = False, content: str = "text", lists: int = 0, checkout: Path = PROJECT
    ) -> None:
        self.key = f"ours-{connections}" + "-links" * links + "-before" * (checkout != PROJECT)
        self.name = f"task.py, {connections}, links" if links else f"task.py, {connections} connections"
        if checkout != PROJECT:
            self.name = f"before: {self.name}"
        if content != "text":
            self.key += f"-{content}"
            self.name += {"html": ", HTML", "fields": ", three fields in HTML"}[content]
        if lists:
            self.key += f"-lists-{lists}"
            self.name += ", one list" if lists == 1 else f", {lists} lists less one"
        self._content = content
        self._lists = lists
        self._connections = connections
        self._links = links
        self._checkout = checkout

    def of_checkout(self, checkout: Path) -> Ours:
        """Return this contender at another commit, which may have no lists yet: there, the email goes to everyone."""
        return Ours(self._connections, links=self._links, content=self._content, checkout=checkout)

    def prepare(self, folder: Path, messages: int) -> None:
        self._prepare(settings_for(folder, 1, self._connections), messages)

    def command(self, folder: Path, port: int, messages: int) -> list[str]:
        return [sys.executable, str(self._checkout / "task.py")]

    def environment(self, folder: Path, port: int) -> Mapping[str, str]:
        public = {"PUBLIC_URL": "https://mail.example.com"} if self._links else {}
        return settings_for(folder, port, self._connections) | public

    def check(self, folder: Path, messages: int) -> None:
        self._check(settings_for(folder, 1, self._connections), messages)

    def _prepare(self, settings: Mapping[str, str], messages: int) -> None:
        names = "\n".join(map(address, range(messages)))
        self._run([sys.executable, "-m", "flask", "init-db"], settings)
        self._run([sys.executable, "-c", PREPARE, *self._arguments()], settings, names)

    def _arguments(self) -> list[str]:
        """Return the content, the fields of each recipient if there are any, and the number of lists."""
        content = {"text": BODY, "html": HTML.format(**VALUES)}.get(self._content)
        if content is not None:
            return [content, "", str(self._lists)]
        return [HTML.format(**{name: f"{{{{ {name} }}}}" for name in VALUES}), json.dumps(VALUES), str(self._lists)]

    def _check(self, settings: Mapping[str, str], messages: int) -> None:
        shown = self._run([sys.executable, "-m", "flask", "emails", "show", "1", "--json"], settings)
        if json.loads(shown)["sent"] != messages:
            raise SystemExit(f"{self.name}: not everything was sent: {shown}")

    def _run(self, command: list[str], settings: Mapping[str, str], text: str = "") -> str:
        environment = {**CLEAN_ENVIRONMENT, **settings}
        done = subprocess.run(
            command, cwd=self._checkout, env=environment, input=text, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout


def settings_for(folder: Path, port: int, connections: int, scheme: str = "smtp") -> dict[str, str]:
    """The environment of an installation that sends as fast as it can."""
    return {
        "DATABASE_URL": f"sqlite:///{folder}/email.db",
        "TASKLOG": f"{folder}/tasklog.log",
        "EMAIL_URL": f"{scheme}://127.0.0.1:{port}",
        "SMTP_CONNECTIONS": str(connections),
        "SMTP_MESSAGES_PER_CONNECTION": "0",
    }
