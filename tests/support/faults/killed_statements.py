"""Let a statement fail, as if the process had been killed at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from storage.connection import Connection

METHODS = ("execute", "executemany", "fetch_all", "fetch_one", "execute_pipelined")
NEVER_KILLED = ("ROLLBACK", "DETACH staging")  # what the kernel or the server does


class Killed(Exception):
    """The process was killed at a statement."""


@contextmanager
def killed_at(connection: Connection, number: int | None) -> Iterator[None]:
    """Context manager: the statement with this number (from 0) raises Killed. None: no statement does."""
    left = number
    originals = {name: getattr(connection, name) for name in METHODS}

    def failing(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **values: Any) -> Any:
            nonlocal left
            if left is not None and arguments[0] not in NEVER_KILLED:
                left -= 1
                if left < 0:
                    left = None
                    raise Killed
            return original(*arguments, **values)

        return call

    for name, original in originals.items():
        setattr(connection, name, failing(original))
    try:
        yield
    finally:
        for name in METHODS:
            delattr(connection, name)
