"""Claims: a sender reserves deliveries, from one email after the other, before it sends them.

The deliveries of an email are created when they are first claimed, and a cursor moves in the same commit. So any sweep
can continue where another stopped, no write lock lasts longer than one batch, and a recipient who is removed before the
cursor reaches them receives nothing.
"""

from __future__ import annotations

from storage.connection import Connection
from storage.progress import ProgressTable

FIRST_ANALYZE_AT = 20_000  # deliveries created by a process when the database first updates its statistics
FIRST_EVENT_ID, LAST_EVENT_ID = -(2**63), 2**63 - 1

# A sender whose claims were taken over has no row, and claims nothing.
LOCK_SENDER = "SELECT 1 FROM senders WHERE sender_id = :sender_id {for_update}"
CLAIM_QUEUED = """
WITH due AS MATERIALIZED (
    SELECT event_id, recipient_id FROM deliveries
    WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id AND next_attempt_at <= :now
    ORDER BY next_attempt_at LIMIT :limit {for_update_skip_locked})
UPDATE deliveries SET status = 'claimed', claimed_by = :sender_id
WHERE claimed_by IS NULL AND finished_at IS NULL AND (event_id, recipient_id) IN (
    SELECT event_id, recipient_id FROM due)
RETURNING event_id, recipient_id, address
"""
INSERT_CLAIMED = """
INSERT INTO deliveries (event_id, recipient_id, status, claimed_by, queued_at, next_attempt_at, address)
SELECT :event_id, recipient_id, 'claimed', :sender_id, :now, :now, address FROM recipients
WHERE recipient_id > :after AND recipient_id <= :last AND status = 'active' AND removed_at IS NULL
ORDER BY recipient_id LIMIT :limit
RETURNING event_id, recipient_id, address
"""
NEXT_EVENT_ID = """
SELECT e.event_id FROM emails e {sending_index_hint} WHERE e.status = 'sending' AND e.event_id >= :first AND (
    EXISTS (SELECT 1 FROM deliveries d
            WHERE d.claimed_by IS NULL AND d.finished_at IS NULL AND d.event_id = e.event_id
                AND d.next_attempt_at <= :now)
    OR EXISTS (SELECT 1 FROM progress p WHERE p.event_id = e.event_id AND p.cursor_id < p.last_recipient_id))
ORDER BY e.event_id LIMIT 1
"""
# Senders with a daily limit claim one after the other, so that each counts what the others have claimed.
LOCK_QUOTA = "SELECT value FROM counters WHERE name = 'sender_id' {for_update}"
# In whole hours, so at least the last 24. What is claimed counts as sent.
USED_TODAY = """
SELECT (SELECT COALESCE(SUM(sent + in_doubt), 0) FROM hourly_stats WHERE hour >= :hour)
    + (SELECT COUNT(*) FROM deliveries WHERE claimed_by IS NOT NULL)
"""


Claim = tuple[int, int, str]  # event_id, recipient_id, address: a plain tuple, as the database returns it


class Claims:
    """All claims of an installation."""

    def __init__(self, connection: Connection, progress: ProgressTable) -> None:
        self._connection = connection
        self._progress = progress
        self._claim_queued = CLAIM_QUEUED.format(for_update_skip_locked=connection.for_update_skip_locked)
        self._created = 0
        self._analyze_at = FIRST_ANALYZE_AT
        self._lock_quota = LOCK_QUOTA.format(for_update=connection.for_update)
        self._next_event_id_sql = NEXT_EVENT_ID.format(sending_index_hint=connection.sending_index_hint)
        self._lock_sender = LOCK_SENDER.format(for_update=connection.for_update)

    def claim(self, sender_id: int, after: int, now: int, limit: int, per_day: int = 0) -> list[Claim]:
        """Claim up to `limit` deliveries for a sender, from the emails after the event_id `after`, then from the first.

        All senders together send at most `per_day` messages in 24 hours; 0 is no limit.
        """
        claimed: list[Claim] = []
        with self._connection.transaction():
            if self._connection.fetch_one(self._lock_sender, sender_id=sender_id) is None:
                return claimed
            if per_day:
                self._connection.fetch_one(self._lock_quota)
                limit = min(limit, per_day - self.used_today(now))
            for first in _starts_after(after):
                while len(claimed) < limit and (event_id := self._next_event_id(first, now)) is not None:
                    claimed += self._claim_from(event_id, sender_id, now, limit - len(claimed))
                    first = event_id + 1
        if self._created >= self._analyze_at:
            self._analyze_at *= 2
            self._connection.analyze()
        return claimed

    def used_today(self, now: int) -> int:
        """Return how many messages were sent in the last 24 hours, or are about to be."""
        row = self._connection.fetch_one(USED_TODAY, hour=now // 3600 - 24)
        return int(row[0]) if row else 0

    def _next_event_id(self, first: int, now: int) -> int | None:
        if first > LAST_EVENT_ID:
            return None
        row = self._connection.fetch_one(self._next_event_id_sql, first=first, now=now)
        return None if row is None else int(row[0])

    def _claim_from(self, event_id: int, sender_id: int, now: int, limit: int) -> list[Claim]:
        """Claim what is queued, then create claimed deliveries for the remaining recipients."""
        claim = {"event_id": event_id, "sender_id": sender_id, "now": now}
        claims = self._fetch_claims(self._claim_queued, limit=limit, **claim)
        room = limit - len(claims)
        if room and (remaining := self._progress.remaining_recipients(event_id)):
            created = self._fetch_claims(
                INSERT_CLAIMED, after=remaining.after, last=remaining.last, limit=room, **claim
            )
            self._created += len(created)
            cursor = created[-1][1] if len(created) == room else None
            self._progress.move_cursor(event_id, cursor, len(created), now)
            claims += created
        return claims

    def _fetch_claims(self, sql: str, **values: int) -> list[Claim]:
        return sorted(self._connection.fetch_all(sql, **values))  # RETURNING has no order


def _starts_after(event_id: int) -> list[int]:
    """Return where to look for the next email: after this event_id, then from the first of all."""
    return [event_id + 1, FIRST_EVENT_ID] if event_id < LAST_EVENT_ID else [FIRST_EVENT_ID]
