"""Connection parameters: those of DATABASE_URL, with the program's defaults for anything that is not set elsewhere.

libpq reads parameters from the URL, a service file and the environment, in this order of precedence. Arguments of
`connect` override all of them, so the program passes only those that none of them sets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from psycopg import pq
from psycopg.conninfo import conninfo_to_dict

DEFAULTS: Mapping[str, Any] = {
    "connect_timeout": 5,  # seconds
    "keepalives_idle": 30,
    "tcp_user_timeout": 20_000,  # milliseconds
}
ALWAYS: Mapping[str, Any] = {
    "fallback_application_name": "email-endpoint",
    "client_encoding": "UTF8",  # any text must be possible
}


@cache
def connection_parameters(url: str, options: str) -> Mapping[str, Any]:
    """Return the arguments for `psycopg.connect` in addition to `url`. Raises psycopg.Error if the URL is invalid.

    `options` are session settings, as in `-c name=value`. Those that are set elsewhere come after them, and take
    precedence.
    """
    given: dict[str, Any] = conninfo_to_dict(url)
    known = _elsewhere(given.get("service")) | {name: value for name, value in given.items() if value}
    parameters = {name: value for name, value in DEFAULTS.items() if name not in known}
    return {**parameters, **ALWAYS, "options": f"{options} {known.get('options', '')}".strip()}


def _elsewhere(service: str | None) -> dict[str, str]:
    """Return the parameters that libpq reads from the environment and the service file, and its own defaults."""
    with _service(service):
        return {each.keyword.decode(): each.val.decode() for each in pq.Conninfo.get_defaults() if each.val}


@contextmanager
def _service(name: str | None) -> Iterator[None]:
    """Make libpq include a service file entry in its defaults, which it does only if the environment names it."""
    before = os.environ.get("PGSERVICE")
    if name is None or name == before:
        yield
        return
    os.environ["PGSERVICE"] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ["PGSERVICE"]
        else:
            os.environ["PGSERVICE"] = before
