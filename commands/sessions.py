"""`flask end-sessions`: log everybody out of the pages."""

from __future__ import annotations

import click

from commands.errors import plain_errors
from database import open_database
from web.auth import sessions
from web.services import current_settings


@click.command("end-sessions")
@plain_errors
def end_sessions() -> None:
    """Log everybody out: each browser has to log in again. Programs that send a token are not affected."""
    with open_database(current_settings()) as database:
        sessions.end_all(database)
    click.echo("every session was ended: people have to log in again")
