"""Claims: a sender takes deliveries, email by email in turn, before it sends them.

The deliveries of an email are made where they are first claimed, behind a cursor that moves in the same commit:
any sweep can go on where another was stopped, no write lock lasts longer than for one batch, and who leaves the
list before the cursor comes by gets nothing.
"""

from __future__ import annotations

from typing import cast

from storage.connection import Connection
from storage.progress import ProgressTable

MANY = 20_000  # new rows
FIRST_EVENT_ID, LAST_EVENT_ID = -(2**63), 2**63 - 1

# What keeps others off the rows of a SELECT differs between databases: a hole in the few statements that need it.
# A sender that was taken over has no row, and claims nothing.
IS_AT_WORK = "SELECT 1 FROM senders WHERE sender_id = :sender_id {for_update}"
CLAIM = """
WITH due AS MATERIALIZED (
    SELECT event_id, recipient_id FROM deliveries
    WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id AND next_attempt_at <= :now
    ORDER BY next_attempt_at LIMIT :limit {for_update_skip_locked})
UPDATE deliveries SET status = 'claimed', claimed_by = :sender_id
WHERE claimed_by IS NULL AND finished_at IS NULL AND (event_id, recipient_id) IN (
    SELECT event_id, recipient_id FROM due)
RETURNING event_id, recipient_id, address
"""
MAKE_CLAIMED = """
INSERT INTO deliveries (event_id, recipient_id, status, claimed_by, queued_at, next_attempt_at, address)
SELECT :event_id, recipient_id, 'claimed', :sender_id, :now, :now, address FROM recipients
WHERE recipient_id > :after AND recipient_id <= :last AND status = 'active' AND removed_at IS NULL
ORDER BY recipient_id LIMIT :limit
RETURNING event_id, recipient_id, address
"""
NEXT_IN_TURN = """
SELECT e.event_id FROM emails e {sending_index_hint} WHERE e.status = 'sending' AND e.event_id >= :first AND (
    EXISTS (SELECT 1 FROM deliveries d
            WHERE d.claimed_by IS NULL AND d.finished_at IS NULL AND d.event_id = e.event_id
                AND d.next_attempt_at <= :now)
    OR EXISTS (SELECT 1 FROM progress p WHERE p.event_id = e.event_id AND p.cursor_id < p.last_recipient_id))
ORDER BY e.event_id LIMIT 1
"""
# Who claims under a quota waits until what others claim can be counted.
ONE_AT_A_TIME = "SELECT value FROM counters WHERE name = 'sender_id' {for_update}"
# Whole hours, so at least the last 24; what is claimed now counts as if it were sent.
USED_TODAY = """
SELECT (SELECT COALESCE(SUM(sent + in_doubt), 0) FROM hours WHERE hour >= :hour)
    + (SELECT COUNT(*) FROM deliveries WHERE claimed_by IS NOT NULL)
"""

Claim = tuple[int, int, str]  # event_id, recipient_id, address


class Claims:
    """The acts on claims."""

    def __init__(self, connection: Connection, progress: ProgressTable) -> None:
        self._connection = connection
        self._progress = progress
        self._claim = CLAIM.format(for_update_skip_locked=connection.for_update_skip_locked)
        self._rows_made = 0
        self._count_at = MANY  # how many are made when the database counts its rows anew
        self._one_at_a_time = ONE_AT_A_TIME.format(for_update=connection.for_update)
        self._next = NEXT_IN_TURN.format(sending_index_hint=connection.sending_index_hint)
        self._is_at_work = IS_AT_WORK.format(for_update=connection.for_update)

    def take(self, sender_id: int, after: int, now: int, limit: int, per_day: int = 0) -> list[Claim]:
        """Claim up to `limit` deliveries for a sender, from the emails in turn after the email `after`.

        With `per_day`, no more than so many leave in 24 hours, over all senders; 0: no bound.
        """
        claimed: list[Claim] = []
        with self._connection.transaction():
            if self._connection.fetch_one(self._is_at_work, sender_id=sender_id) is None:
                return claimed
            if per_day:
                self._connection.fetch_one(self._one_at_a_time)
                limit = min(limit, per_day - self.used_today(now))
            for first in _in_turn_after(after):
                while len(claimed) < limit and (event_id := self._next_in_turn(first, now)) is not None:
                    claimed += self._take_from(event_id, sender_id, now, limit - len(claimed))
                    first = event_id + 1
        if self._rows_made >= self._count_at:
            self._count_at *= 2
            self._connection.analyze()
        return claimed

    def used_today(self, now: int) -> int:
        """How many messages were sent in the last 24 hours, or are about to be."""
        row = self._connection.fetch_one(USED_TODAY, hour=now // 3600 - 24)
        return int(row[0]) if row else 0

    def _next_in_turn(self, first: int, now: int) -> int | None:
        if first > LAST_EVENT_ID:
            return None
        row = self._connection.fetch_one(self._next, first=first, now=now)
        return None if row is None else int(row[0])

    def _take_from(self, event_id: int, sender_id: int, now: int, limit: int) -> list[Claim]:
        """First what waits in line, then deliveries that did not exist yet."""
        claim = {"event_id": event_id, "sender_id": sender_id, "now": now}
        claims = self._rows(self._claim, limit=limit, **claim)
        room = limit - len(claims)
        if room and (unmade := self._progress.unmade(event_id)):
            made = self._rows(MAKE_CLAIMED, after=unmade.after, last=unmade.last, limit=room, **claim)
            self._rows_made += len(made)
            self._progress.move_cursor(event_id, made[-1][1] if len(made) == room else None, len(made), now)
            claims += made
        return claims

    def _rows(self, sql: str, **values: int) -> list[Claim]:
        return cast("list[Claim]", sorted(self._connection.fetch_all(sql, **values)))  # RETURNING keeps no order


def _in_turn_after(event_id: int) -> list[int]:
    """Where to look for the next email in turn: from the one after this, then from the first of all."""
    return [event_id + 1, FIRST_EVENT_ID] if event_id < LAST_EVENT_ID else [FIRST_EVENT_ID]
