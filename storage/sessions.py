"""Sessions that were ended early. A signed cookie cannot be revoked in any other way."""

from __future__ import annotations

from datetime import datetime

from storage.connection import Connection
from storage.values import epoch_seconds

# The ID of a row that also ends all sessions that would not last beyond its `ends_at`.
ALL = "*"
SELECT_ENDED = """
SELECT 1 FROM ended_sessions WHERE session_id = :session_id OR (session_id = '*' AND ends_at >= :ends_at)
"""
INSERT_ENDED = """
INSERT INTO ended_sessions (session_id, ends_at) VALUES (:session_id, :ends_at)
ON CONFLICT (session_id) DO UPDATE SET ends_at = excluded.ends_at WHERE ended_sessions.ends_at < excluded.ends_at
"""
DELETE_EXPIRED = "DELETE FROM ended_sessions WHERE ends_at < :now"


class EndedSessions:
    """The sessions of people who have logged out or were logged out."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def has_ended(self, session_id: str, ends_at: datetime) -> bool:
        """Return whether this session, which would last until `ends_at`, was ended."""
        self._connection.check_not_replaced()
        values = {"session_id": session_id, "ends_at": epoch_seconds(ends_at)}
        return self._connection.fetch_one(SELECT_ENDED, **values) is not None

    def end(self, session_id: str, ends_at: datetime, now: datetime) -> None:
        """End a session that would have lasted until `ends_at`. Also forget the sessions that have expired by now."""
        with self._connection.transaction():
            self._connection.execute(DELETE_EXPIRED, now=epoch_seconds(now))
            self._connection.execute(INSERT_ENDED, session_id=session_id, ends_at=epoch_seconds(ends_at))

    def end_all(self, until: datetime, now: datetime) -> None:
        """End all sessions that would not last beyond `until`."""
        self.end(ALL, until, now)
