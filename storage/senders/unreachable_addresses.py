"""Addresses of mail servers that did not respond to an attempt to connect. Later sweeps try other addresses first."""

from __future__ import annotations

from collections.abc import Iterable

from storage.connection import Connection

MEMORY_SECONDS = 24 * 60 * 60

SELECT = "SELECT address, remembered_until FROM unreachable_addresses WHERE remembered_until > :now"
DELETE_OLD = "DELETE FROM unreachable_addresses WHERE remembered_until <= :now"
SAVE = """
INSERT INTO unreachable_addresses (address, remembered_until) VALUES (:address, :until)
ON CONFLICT (address) DO UPDATE SET remembered_until = excluded.remembered_until
"""


class UnreachableAddresses:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def all(self, now: int) -> dict[str, int]:
        """Return the addresses, each with the time until which it is remembered, in seconds since 1970 UTC."""
        return dict(self._connection.fetch_all(SELECT, now=now))

    def add(self, addresses: Iterable[str], now: int) -> None:
        """Remember addresses for MEMORY_SECONDS from now."""
        with self._connection.transaction():
            self._connection.execute(DELETE_OLD, now=now)
            for address in addresses:
                self._connection.execute(SAVE, address=address, until=now + MEMORY_SECONDS)
