"""What commands print for a program: one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import click


def echo_json(values: Mapping[str, object]) -> None:
    """Print an object; times as RFC 3339."""
    click.echo(json.dumps(values, default=_as_text))


def instant(seconds: int | None) -> str | None:
    """A time of the database as RFC 3339, in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
