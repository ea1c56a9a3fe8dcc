"""Output of commands for programs: one JSON object per line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime

import click


def echo_json(values: Mapping[str, object]) -> None:
    click.echo(json_line(values))


def json_line(values: Mapping[str, object]) -> str:
    """Return an object as one line of JSON, with times in RFC 3339."""
    return json.dumps(values, default=_as_text)


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line.")
