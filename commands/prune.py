"""`flask prune`: delete the content and deliveries of old emails."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from commands.errors import plain_errors
from commands.output import echo_json, json_option
from database import open_database
from monitoring.humanize import pluralize
from settings.catalogue import DURATION, plain
from settings.parse import InvalidValueError, duration
from web.services import current_settings


def _seconds(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    try:
        return None if text is None else duration(text)
    except InvalidValueError as error:
        raise click.BadParameter(f"allowed: {plain(DURATION)}, such as 45s, 30m, 24h or 90d") from error


@click.command()
@click.option(
    "--older-than", metavar="DURATION", callback=_seconds, help="Minimum age, such as 90d (default: KEEP_FOR)."
)
@json_option
@plain_errors
def prune(older_than: int | None, as_json: bool) -> None:
    """Delete content and deliveries of old emails.

    Only finished emails are pruned. Their subject, times and counts remain, and their event_id cannot be used again.
    You can prune while the service runs, and stop and repeat it at any time. If KEEP_FOR is set, sweeps prune
    automatically.
    """
    keep_for = current_settings().keep_for or None if older_than is None else older_than
    if keep_for is None:
        raise click.UsageError("KEEP_FOR is not set. Give an age: flask prune --older-than 90d")
    with open_database(current_settings(), wait=60.0) as database:
        pruned = database.prune(datetime.now(UTC) - timedelta(seconds=keep_for))
    if as_json:
        echo_json(pruned._asdict())
    else:
        deliveries = pluralize(pruned.deliveries, "delivery", "deliveries")
        click.echo(f"Pruned {pluralize(pruned.emails, 'email')} and {deliveries}.")
