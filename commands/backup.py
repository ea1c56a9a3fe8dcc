"""`flask backup` and `flask restored`: copy the database, and mark it as restored from a copy."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import click

from commands.errors import plain_errors
from commands.output import echo_json, json_option
from database import open_database
from web.services import current_settings

FOR_POSTGRESQL = """flask backup supports SQLite only. Back up PostgreSQL with pg_dump:

  pg_dump --format=custom --file={file} {name}

To restore it (docs/backup.md):

  createdb NEW && pg_restore --no-owner --dbname=NEW {file}
  flask restored                  # with DATABASE_URL set to the new database, before you start anything"""


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
@plain_errors
def backup(file: Path, as_json: bool) -> None:
    """Back up the SQLite database to FILE.

    The service may keep running. The copy is verified, FILE is written completely or not at all, and only you can read
    it. After you restore it, the first sweep puts due and partly sent emails on hold, because they may have been sent
    since the backup.
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
    size, seconds = file.stat().st_size / 1000**2, time.monotonic() - began
    click.echo(f"Wrote {file} ({size:,.1f} MB, verified) in {seconds:.1f} s")
    click.echo(", ".join(f"{count:,} {table}" for table, count in rows.items() if table not in ("meta", "counters")))


@click.command()
@json_option
@plain_errors
def restored(as_json: bool) -> None:
    """Mark the database as restored from a backup.

    Run this before you start anything on the restored database. The next sweep puts due and partly sent emails on hold,
    because they may have been sent since the copy was made. Copies made by `flask backup` are already marked.
    """
    with open_database(current_settings()) as database:
        database.mark_as_restored(datetime.now(UTC))
    if as_json:
        echo_json({"restored": True})
        return
    click.echo("Marked as restored. The next sweep puts due and partly sent emails on hold.")
    click.echo("Then run: flask emails list --status held")
