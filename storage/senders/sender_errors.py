"""The errors that stop senders. A sender records its error, and clears it once it can send again."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from storage.connection import Connection
from storage.values import moment

MAIL_SERVER, CLOCK = "mail_server", "clock"

SELECT_ERRORS = "SELECT kind, reason, since FROM sender_errors ORDER BY since, kind"
SELECT_KIND = "SELECT 1 FROM sender_errors WHERE kind = :kind"
RECORD = """
INSERT INTO sender_errors (kind, reason, since) VALUES (:kind, :reason, :now)
ON CONFLICT (kind) DO UPDATE SET reason = excluded.reason
"""
CLEAR = "DELETE FROM sender_errors WHERE kind = :kind"


class SenderError(NamedTuple):
    """An error that stops sending."""

    kind: str  # MAIL_SERVER or CLOCK
    reason: str
    since: datetime  # when a sender first encountered it


class SenderErrors:
    """The errors that stop senders, at most one of each kind."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def current(self) -> list[SenderError]:
        """Return the errors that have not been cleared, oldest first."""
        rows = self._connection.fetch_all(SELECT_ERRORS)
        return [SenderError(kind, reason, moment(since)) for kind, reason, since in rows]

    def record(self, kind: str, reason: str, now: int) -> bool:
        """Record an error, or update its reason. Return whether it is new."""
        with self._connection.transaction():
            is_new = self._connection.fetch_one(SELECT_KIND, kind=kind) is None
            self._connection.execute(RECORD, kind=kind, reason=reason, now=now)
        return is_new

    def clear(self, kind: str) -> None:
        """Delete the error of this kind. Writes nothing if there is none."""
        if self._connection.fetch_one(SELECT_KIND, kind=kind) is not None:
            with self._connection.transaction():
                self._connection.execute(CLEAR, kind=kind)
