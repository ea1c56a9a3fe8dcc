"""`flask init-db` and `flask copy-database`: create or upgrade the tables, or copy them to another database."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import click

from commands.errors import plain_errors
from database import copy_database, db_init, open_database
from settings import Settings, SettingsError, database_of_variable, load_settings
from web.services import current_settings

VARIABLE = re.compile("[A-Z][A-Z0-9_]*")
LOGIN_IN_URL = re.compile("[a-z]+://[^/@]*:[^/@]+@|.*[?&]password=")
VISIBLE_LOGIN = (
    "Warning: other users of this machine can see the password of this URL in the process list, and your shell\n"
    "may keep it in its history. Set NEW_DATABASE_URL in .env instead, and pass that name."
)


@click.command("init-db")
@plain_errors
def init_db() -> None:
    """Create or upgrade the database tables.

    Safe to repeat: a current database is left unchanged.
    """
    settings = current_settings()
    done = db_init(settings, datetime.now(UTC))
    click.echo(f"{settings.database_name}: {done}")


@click.command("copy-database")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@plain_errors
def copy_database_command(source: str, target: str) -> None:
    """Copy all data into an empty database.

    FROM and TO are names of variables in the environment or in .env, such as DATABASE_URL and NEW_DATABASE_URL. Their
    values have the form of DATABASE_URL; NAME_FILE is the path of a file with the value. You can also pass URLs, but
    other users of this machine can see a password in them.

    Missing tables are created. The copy is compared with the original row by row, and if anything fails, nothing is
    copied. Stop the service first. Afterwards, set DATABASE_URL to the new database and start the service again.
    """
    old, new = _settings_for(source), _settings_for(target)
    db_init(new, datetime.now(UTC))
    began = time.monotonic()
    with open_database(old) as original, open_database(new) as copy:
        rows = copy_database(original, copy)
    for table, count in rows.items():
        click.echo(f"{table}: {count:,} rows")
    click.echo(f"Copied and verified in {time.monotonic() - began:.1f} s: {old.database_name} -> {new.database_name}")


def _settings_for(argument: str) -> Settings:
    """Return settings with the database that an argument of copy-database refers to."""
    current = current_settings()
    name = argument.removesuffix("_FILE")
    if name == "DATABASE_URL":
        return current
    try:
        if VARIABLE.fullmatch(name):
            return database_of_variable(name, current.folder)
        variables = {"DATA_DIR": str(current.data_dir), "DATABASE_URL": argument, "DATABASE_URL_FILE": ""}
        settings = load_settings(variables, current.folder)
    except SettingsError as error:
        raise click.UsageError("\n".join(error.errors)) from error
    if LOGIN_IN_URL.match(argument):
        click.echo(VISIBLE_LOGIN, err=True)
    return settings
