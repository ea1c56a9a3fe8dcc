"""The addresses of mail servers that swallowed an attempt to connect, in a row of `meta`, so that later sweeps know.

The row holds JSON: each address, and until when it is remembered, in seconds since 1970 UTC.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

from storage.connection import Connection

NAME = "unreachable_addresses"
MEMORY_SECONDS = 24 * 60 * 60
MAX_ADDRESSES = 100

SELECT = "SELECT value FROM meta WHERE name = :name"
SAVE = """
INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


class UnreachableAddresses:
    """The addresses that are remembered."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self, now: int) -> dict[str, int]:
        """Return the addresses, each with the time until which it is remembered. A damaged row holds none."""
        row = self._connection.fetch_one(SELECT, name=NAME)
        try:
            found = json.loads(row[0]) if row is not None else {}
            return {str(address): int(until) for address, until in found.items() if until > now}
        except (ValueError, TypeError, AttributeError):
            return {}

    def add(self, addresses: Iterable[str], now: int) -> None:
        """Remember addresses for MEMORY_SECONDS from now."""
        with self._connection.transaction():
            found = self.all(now) | dict.fromkeys(addresses, now + MEMORY_SECONDS)
            kept = dict(list(found.items())[-MAX_ADDRESSES:])
            self._connection.execute(SAVE, name=NAME, value=json.dumps(kept))
