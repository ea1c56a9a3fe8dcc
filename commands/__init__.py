"""The `flask` commands of the service."""

from __future__ import annotations

from flask import Flask

from commands.backup import backup, restored
from commands.check import check
from commands.database import copy_database_command, init_db
from commands.emails import emails
from commands.lists import lists
from commands.prune import prune
from commands.recipients import recipients
from commands.sessions import end_sessions
from commands.setup.command import setup
from commands.wakeups import wakeups


def register(app: Flask) -> None:
    """Add the commands to `flask`."""
    for command in (init_db, copy_database_command, backup, restored, prune, check, setup, end_sessions):
        app.cli.add_command(command)
    for group in (emails, recipients, lists, wakeups):
        app.cli.add_command(group)
