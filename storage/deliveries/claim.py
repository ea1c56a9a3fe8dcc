"""Claims: a sender reserves deliveries before it sends them.

Theory of operation
-------------------
A sender has a row in `senders` with a lease (storage/senders/leases.py). Everything that it reserves carries its
sender_id, and every later change requires it. `claim` first checks that this row still exists, and locks it where the
engine needs that: a sender that was taken over claims nothing.

Starting an email creates no deliveries. It stores `last_recipient_id`, and a cursor (`cursor_id`) moves up to it. A
claim takes the queued deliveries that are due, then creates the next ones after the cursor, already claimed, and moves
the cursor in the same commit. So starting an email for a million recipients is one short transaction, any sender can
continue where another stopped, and no write lock lasts longer than one batch. A recipient who is removed or
unsubscribes before the cursor reaches them gets no delivery, and recipients added after the start are not included.

Emails take turns. A claim starts with the email after the one that was claimed last, in the order of event_ids, and
wraps around. So a small email does not wait for a large one.

An email that is not for everyone reads its audience in windows (storage/audiences/windows.py). A claim reads a bounded
number of rows. If it finds no recipient among them, it continues after them, in another transaction.

No two senders claim the same delivery. SQLite has one writer at a time. On PostgreSQL, queued rows are selected with
FOR UPDATE SKIP LOCKED, and the row in `progress` is locked while its next deliveries are created. With a daily limit,
senders claim one after another, because each counts what the others have claimed.
"""

from __future__ import annotations

from collections.abc import Sequence

from storage.audiences.audiences import Audiences, ListOfEmail, why_deleted
from storage.audiences.windows import window_of
from storage.connection import Connection
from storage.progress import ProgressTable, RecipientRange

FIRST_ANALYZE_AT = 20_000  # statistics are first updated after a process has created this many deliveries
MAX_ROWS_READ = 20_000  # of one audience, in one transaction
FIRST_EVENT_ID, LAST_EVENT_ID = -(2**63), 2**63 - 1

# A sender whose claims were taken over has no row.
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
WHERE recipient_id > :after AND recipient_id <= :last AND status = 'active' AND removed_at IS NULL AND listed = 1
ORDER BY recipient_id LIMIT :limit
RETURNING event_id, recipient_id, address
"""
INSERT_CLAIMED_OF_WINDOW = """
INSERT INTO deliveries (event_id, recipient_id, status, claimed_by, queued_at, next_attempt_at, address)
SELECT :event_id, person.recipient_id, 'claimed', :sender_id, :now, :now, person.address
FROM {source} AND person.status = 'active' AND person.removed_at IS NULL
ORDER BY person.recipient_id LIMIT :limit
RETURNING event_id, recipient_id, address
"""
NEXT_EVENT_ID = """
SELECT e.event_id, (SELECT s.audience FROM progress s WHERE s.event_id = e.event_id)
FROM emails e {sending_index_hint} WHERE e.status = 'sending' AND e.event_id >= :first AND (
    EXISTS (SELECT 1 FROM deliveries d
            WHERE d.claimed_by IS NULL AND d.finished_at IS NULL AND d.event_id = e.event_id
                AND d.next_attempt_at <= :now)
    OR EXISTS (SELECT 1 FROM progress p WHERE p.event_id = e.event_id AND p.cursor_id < p.last_recipient_id))
ORDER BY e.event_id LIMIT 1
"""
# With a daily limit, senders claim one after another, so that each counts what the others have claimed.
LOCK_QUOTA = "SELECT value FROM counters WHERE name = 'sender_id' {for_update}"
# Whole hours, so this covers at least the last 24 hours. Claimed deliveries count as sent.
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
        self._audiences = Audiences(connection)
        self._claim_queued = CLAIM_QUEUED.format(for_update_skip_locked=connection.for_update_skip_locked)
        self._created = 0
        self._is_unfinished = False  # whether the last transaction stopped at MAX_ROWS_READ
        self._analyze_at = FIRST_ANALYZE_AT
        self._lock_quota = LOCK_QUOTA.format(for_update=connection.for_update)
        self._next_event_id_sql = NEXT_EVENT_ID.format(sending_index_hint=connection.sending_index_hint)
        self._lock_sender = LOCK_SENDER.format(for_update=connection.for_update)

    def claim(self, sender_id: int, after: int, now: int, limit: int, per_day: int = 0) -> list[Claim]:
        """Claim up to `limit` deliveries for a sender, from the emails after the event_id `after`, then from the first.

        All senders together send at most `per_day` messages in 24 hours; 0 means no limit. Empty if nothing is due.
        """
        claimed: list[Claim] = []
        self._is_unfinished = True
        while self._is_unfinished and not claimed:
            self._is_unfinished = False
            claimed = self._claim(sender_id, after, now, limit, per_day)
        if self._created >= self._analyze_at:
            self._analyze_at *= 2
            self._connection.analyze()
        return claimed

    def _claim(self, sender_id: int, after: int, now: int, limit: int, per_day: int) -> list[Claim]:
        claimed: list[Claim] = []
        with self._connection.transaction():
            if self._connection.fetch_one(self._lock_sender, sender_id=sender_id) is None:
                return claimed
            if per_day:
                self._connection.fetch_one(self._lock_quota)
                limit = min(limit, per_day - self.used_today(now))
            for first in _starts_after(after):
                while len(claimed) < limit and (found := self._next_email(first, now)) is not None:
                    claimed += self._claim_from(*found, sender_id, now, limit - len(claimed))
                    first = found[0] + 1
        return claimed

    def used_today(self, now: int) -> int:
        """Return how many messages were sent in the last 24 hours, or are claimed."""
        row = self._connection.fetch_one(USED_TODAY, hour=now // 3600 - 24)
        return int(row[0]) if row else 0

    def _next_email(self, first: int, now: int) -> tuple[int, str] | None:
        """Return the event_id and the kind of audience of the next email with deliveries to claim, or None."""
        if first > LAST_EVENT_ID:
            return None
        row = self._connection.fetch_one(self._next_event_id_sql, first=first, now=now)
        return None if row is None else (row[0], row[1])

    def _claim_from(self, event_id: int, audience: str, sender_id: int, now: int, limit: int) -> list[Claim]:
        """Claim queued deliveries, then create claimed ones for the next recipients."""
        # Lists are locked before deliveries and `progress`, as by those who change them.
        lists = [] if audience == "everyone" else self._audiences.lock_lists(event_id)
        claim = {"event_id": event_id, "sender_id": sender_id, "now": now}
        claims = self._fetch_claims(self._claim_queued, limit=limit, **claim)
        room = limit - len(claims)
        if room and (remaining := self._progress.remaining_recipients(event_id)):
            if remaining.audience == "everyone":
                created = self._fetch_claims(
                    INSERT_CLAIMED, after=remaining.after, last=remaining.last, limit=room, **claim
                )
                cursor = created[-1][1] if len(created) == room else None
                self._progress.move_cursor(event_id, cursor, len(created), now)
            else:
                created = self._create_some(remaining, lists, room, claim)
            self._created += len(created)
            claims += created
        return claims

    def _create_some(
        self, remaining: RecipientRange, lists: Sequence[ListOfEmail], room: int, claim: dict[str, int]
    ) -> list[Claim]:
        """Create up to `room` claimed deliveries of an email that is not for everyone, and move its cursor."""
        event_id, now = claim["event_id"], claim["now"]
        for each in lists:
            if each.deleted_at is not None:  # at the very moment at which the email was started
                self._progress.hold_started(event_id, why_deleted(each.name, each.excluded))
                return []
        included, excluded = ([each.list_id for each in lists if each.excluded is which] for which in (False, True))
        window = window_of(self._connection, remaining.audience, included, excluded)
        insert = INSERT_CLAIMED_OF_WINDOW.format(source=window.source)
        cursor: int | None = remaining.after
        created: list[Claim] = []
        rows, rows_read = room, 0
        while cursor is not None and len(created) < room and rows_read < MAX_ROWS_READ:
            limit = room - len(created)
            values = {"after": cursor, "last": remaining.last, "joined_until": remaining.joined_until}
            values |= {"window": window.rows(rows), "event_id": event_id}
            found = self._fetch_claims(insert, limit=limit, **values | claim)
            created += found
            if len(found) == limit:
                cursor = found[-1][1]
            else:
                ((cursor,),) = self._connection.fetch_all(window.end, **values)
            rows_read += values["window"] * window.lists
            rows = min(2 * rows, MAX_ROWS_READ // 4)
        self._progress.move_cursor(event_id, cursor, len(created), now)
        self._is_unfinished = self._is_unfinished or cursor is not None
        return created

    def _fetch_claims(self, sql: str, **values: int) -> list[Claim]:
        return sorted(self._connection.fetch_all(sql, **values))  # RETURNING has no order


def _starts_after(event_id: int) -> list[int]:
    """Return the event_ids to search from: after this one, then from the beginning."""
    return [event_id + 1, FIRST_EVENT_ID] if event_id < LAST_EVENT_ID else [FIRST_EVENT_ID]
