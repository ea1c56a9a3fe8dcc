"""`flask check`: checks the installation, and says how to fix each problem."""

from __future__ import annotations

import sys

import click
from flask.cli import with_appcontext

from commands.output import echo_json, json_option
from intake.text import printable
from monitoring.checks import findings
from monitoring.finding import Finding
from settings.console import escape_unencodable
from web.services import current_settings

COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}


@click.command()
@json_option
@with_appcontext
def check(as_json: bool) -> None:
    """Look at settings, database, disk, clock, sender and mail server; no mail is sent.

    A line for each: ok, warning or error, and what mends it. The exit code is 1 if there is an error.
    """
    escape_unencodable()
    results = findings(current_settings())
    for finding in results:
        if as_json:
            echo_json(finding._asdict())
        else:
            _show(finding)
    sys.exit(int(any(finding.level == "error" for finding in results)))


def _show(finding: Finding) -> None:
    level = click.style(f"{finding.level:8}", fg=COLOURS[finding.level])
    click.echo(f"{level}{finding.subject:12} {printable(finding.text)}")
    if finding.remedy:
        click.echo(f"{'':20} -> {printable(finding.remedy)}")
