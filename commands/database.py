"""`flask init-db`: make or upgrade the tables."""

from __future__ import annotations

import time

import click

from commands.errors import plain_errors
from database import db_init
from web.context import current_settings


@click.command("init-db")
@plain_errors
def init_db() -> None:
    """Make the tables, or bring them to the version of this program. Safe to repeat."""
    settings = current_settings()
    done = db_init(settings, int(time.time()))
    click.echo(f"{settings.database_path}: {done}")
