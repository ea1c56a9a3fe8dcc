"""`flask wakeups`: schedule the wake-ups in Redis again, from the database."""

from __future__ import annotations

import time

import click

from commands.errors import plain_errors
from database import open_database
from monitoring.humanize import pluralize
from schedulers.errors import QueueUnavailable
from schedulers.wake_ups import arm_all, wake_ups_of
from web.services import current_settings


@click.group()
def wakeups() -> None:
    """Manage the wake-ups in Redis (SCHEDULER=rq-scheduler)."""


@wakeups.command()
@plain_errors
def arm() -> None:
    """Reschedule all wake-ups from the database.

    Use this if Redis has lost its data. Safe to repeat.
    """
    settings = current_settings()
    try:
        wake_ups = wake_ups_of(settings)
        if wake_ups is None:
            raise click.ClickException("SCHEDULER=cron does not use wake-ups. Set SCHEDULER=rq-scheduler first.")
        with open_database(settings) as database:
            count = arm_all(wake_ups, database, int(time.time()))
    except QueueUnavailable as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"Scheduled {pluralize(count, 'wake-up')}.")
