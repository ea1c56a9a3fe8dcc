"""`flask end-sessions`: log everyone out of the pages."""

from __future__ import annotations

import click

from commands.errors import plain_errors
from database import open_database
from web.auth import sessions
from web.services import current_settings


@click.command("end-sessions")
@plain_errors
def end_sessions() -> None:
    """Log everyone out of the pages.

    Programs that send an access token are not affected.
    """
    with open_database(current_settings()) as database:
        sessions.end_all(database)
    click.echo("Ended all sessions. Everyone has to log in again.")
