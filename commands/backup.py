"""`flask backup` and `flask restored`: a copy of the database, and what a restored one has to be told."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from commands.errors import plain_errors
from commands.output import echo_json, json_option
from database import open_database
from web.services import current_settings

FOR_POSTGRESQL = """flask backup is for SQLite. This database is on PostgreSQL, which has its own:

  pg_dump --format=custom --file={file} {name}

To restore it (docs/backup.md):

  createdb NEW && pg_restore --no-owner --dbname=NEW {file}
  flask restored                  # with DATABASE_URL set to the new database, before anything is started"""


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@plain_errors
def backup(file: Path, as_json: bool) -> None:
    """Copy the SQLite database into FILE while it is in use, and look through the copy.

    FILE is made whole or not at all, and only you can read it. It carries a mark: once it is restored, the first
    sweep holds what was begun or due in it, since that may have been sent meanwhile.
    """
    settings = current_settings()
    if settings.database_path is None:
        raise click.ClickException(FOR_POSTGRESQL.format(file=file, name=settings.database_name))
    began = time.monotonic()
    with open_database(settings) as database:
        rows = database.back_up(file, datetime.now(UTC))
    if as_json:
        echo_json({"file": str(file.resolve()), "bytes": file.stat().st_size, "rows": rows})
        return
    click.echo(f"{file}: {file.stat().st_size / 1000**2:,.1f} MB, whole, in {time.monotonic() - began:.1f} s")
    click.echo(", ".join(f"{count:,} {table}" for table, count in rows.items() if table not in ("meta", "counters")))


@click.command()
@json_option
@plain_errors
def restored(as_json: bool) -> None:
    """Say that the database was restored from a copy, before anything is started on it.

    The next sweep holds what was begun or due in it: it may have been sent since the copy was made. What
    `flask backup` made says so by itself.
    """
    with open_database(current_settings()) as database:
        database.mark_as_restored(datetime.now(UTC))
    if as_json:
        echo_json({"restored": True})
        return
    click.echo("The next sweep holds what was begun or due; then: flask emails list --status held")
