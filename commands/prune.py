"""`flask prune`: forget finished emails that are old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from commands.errors import plain_errors
from commands.output import echo_json, json_option
from database import open_database
from settings.parse import RefusedError, duration
from web.services import current_settings


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else duration(text)
    except RefusedError as error:
        raise click.BadParameter(str(error)) from error


@click.command()
@click.option("--older-than", metavar="DURATION", callback=_seconds, help="Such as 90d; instead of KEEP_FOR.")
@json_option
@plain_errors
def prune(older_than: int | None, as_json: bool) -> None:
    """Forget finished emails that are older than KEEP_FOR: their content and their deliveries.

    Their event_id stays known and cannot be used again; subject, times and counts stay too. It may run beside
    everything else, be broken off, and be run again. With KEEP_FOR set, sweeps do the same by themselves.
    """
    keep_for = current_settings().keep_for or None if older_than is None else older_than
    if keep_for is None:
        raise click.UsageError("KEEP_FOR is not set, so everything is kept; say how old: flask prune --older-than 90d")
    with open_database(current_settings(), wait=60.0) as database:
        pruned = database.prune(datetime.now(UTC) - timedelta(seconds=keep_for))
    if as_json:
        echo_json(pruned._asdict())
    else:
        click.echo(f"{pruned.emails:,} emails were pruned, with {pruned.deliveries:,} deliveries")
