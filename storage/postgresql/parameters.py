"""The parameters of a connection: those of DATABASE_URL, and the program's own where nothing else is given.

libpq takes parameters from the URL, from a service file and from the environment, in this order. Arguments of `connect`
go before all of them, so the program only passes those that none of them has.
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
    "client_encoding": "UTF8",  # every text must fit
}


@cache
def connection_parameters(url: str, options: str) -> Mapping[str, Any]:
    """Return what `psycopg.connect` takes beside `url`. Raises psycopg.Error if libpq cannot read the URL.

    `options` are settings of the session, as in `-c name=value`. Those that are given elsewhere follow them, and win.
    """
    given: dict[str, Any] = conninfo_to_dict(url)
    known = _elsewhere(given.get("service")) | {name: value for name, value in given.items() if value}
    parameters = {name: value for name, value in DEFAULTS.items() if name not in known}
    return {**parameters, **ALWAYS, "options": f"{options} {known.get('options', '')}".strip()}


def _elsewhere(service: str | None) -> dict[str, str]:
    """Return what libpq takes from the environment and the service file, and its own defaults."""
    with _service(service):
        return {each.keyword.decode(): each.val.decode() for each in pq.Conninfo.get_defaults() if each.val}


@contextmanager
def _service(name: str | None) -> Iterator[None]:
    """Let libpq read the entry of a service: it does so for its defaults only if the environment names it."""
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
