"""The `flask` commands of the service."""

from __future__ import annotations

from flask import Flask

from commands.backup import backup, restored
from commands.check import check
from commands.database import copy_database_command, init_db
from commands.emails import emails
from commands.prune import prune
from commands.recipients import recipients
from commands.wakeups import wakeups


def register(app: Flask) -> None:
    """Put the commands under `flask`."""
    for command in (init_db, copy_database_command, recipients, wakeups, check, backup, restored, prune, emails):
        app.cli.add_command(command)
