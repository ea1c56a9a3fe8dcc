"""`flask init-db` and `flask copy-database`: make or upgrade the tables, and move them to another database."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from commands.errors import plain_errors
from database import copy_database, db_init, open_database
from settings import Settings, SettingsError, load_settings
from web.services import current_settings


@click.command("init-db")
@plain_errors
def init_db() -> None:
    """Make the tables, or bring them to the version of this program. Safe to repeat."""
    settings = current_settings()
    done = db_init(settings, datetime.now(UTC))
    click.echo(f"{settings.database_name}: {done}")


@click.command("copy-database")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@plain_errors
def copy_database_command(source: str, target: str) -> None:
    """Copy everything from one database into another that is empty, all or nothing.

    Both are written as in DATABASE_URL. The tables are made where they are missing, and the copy is compared with
    the original, row by row. Stop the service first; then set DATABASE_URL to the new one, and start it again.
    """
    old, new = _settings_for(source), _settings_for(target)
    db_init(new, datetime.now(UTC))
    began = time.monotonic()
    with open_database(old) as original, open_database(new) as copy:
        rows = copy_database(original, copy)
    for table, count in rows.items():
        click.echo(f"{table}: {count:,} rows")
    click.echo(f"copied and compared in {time.monotonic() - began:.1f} s: {old.database_name} -> {new.database_name}")


def _settings_for(url: str) -> Settings:
    current = current_settings()
    variables = {"DATA_DIR": str(current.data_dir), "DATABASE_URL": url, "DATABASE_URL_FILE": ""}
    try:
        return load_settings(variables, current.folder)
    except SettingsError as error:
        raise click.UsageError("\n".join(error.errors)) from error
