"""Run `flask recipients` in this process, and read what it stored."""

from __future__ import annotations

from collections.abc import Callable

from click.testing import Result

from database import Database
from email_app import create_app
from settings import Settings

Command = Callable[..., Result]


def commands_of(settings: Settings, command: str = "recipients") -> Command:
    """Return a function that runs `flask recipients …`, or another command, with these settings."""
    runner = create_app(settings).test_cli_runner()

    def run(*words: str, stdin: bytes = b"") -> Result:
        return runner.invoke(args=[command, *words], input=stdin)

    return run


def stored(database: Database) -> dict[str, str]:
    return {each.address: each.status for page in database.recipients.pages() for each in page}
