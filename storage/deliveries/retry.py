"""What operators do with unsuccessful deliveries: retry them, or decide the outcome of those in doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple, cast

from storage.audiences.audiences import HAS_LEFT
from storage.connection import Connection, Row, Statement
from storage.deliveries.listing import WINDOW_OF_ATTEMPTED
from storage.errors import NotInDoubt, NotRetryable
from storage.hourly_stats import HourlyStats
from storage.progress import ProgressTable
from storage.values import RETRYABLE_STATUSES, epoch_seconds

BATCH_SIZE = 2_000  # deliveries changed in one transaction

SELECT_ATTEMPTED = """
SELECT DISTINCT recipient_id FROM attempts WHERE event_id = :event_id AND recipient_id > :after
ORDER BY recipient_id LIMIT :limit
"""
# Only deliveries that have been attempted, and only to recipients who are still active and in the audience.
IS_RETRYABLE = f"""
EXISTS (SELECT 1 FROM attempts a WHERE a.event_id = deliveries.event_id AND a.recipient_id = deliveries.recipient_id)
AND EXISTS (
    SELECT 1 FROM recipients r
    WHERE r.recipient_id = deliveries.recipient_id AND r.status = 'active' AND r.removed_at IS NULL)
AND NOT ({HAS_LEFT.format(delivery="deliveries")})
"""  # noqa: S608 - statements of our own
QUEUE_AGAIN = f"""
UPDATE deliveries SET status = 'queued', queued_at = ?, next_attempt_at = ?, attempts_in_doubt = 0, finished_at = NULL
WHERE event_id = ? AND recipient_id = ? AND status = ? AND {IS_RETRYABLE}
"""  # noqa: S608 - statements of our own
# The status of a delivery's recipient, or 'removed', or 'left'. A retry skips all but 'active'.
STANDING = f"""
CASE WHEN r.status IS NULL OR r.removed_at IS NOT NULL THEN 'removed' WHEN r.status <> 'active' THEN r.status
    WHEN {HAS_LEFT.format(delivery="d")} THEN 'left' ELSE 'active' END
"""
COUNT_STANDINGS = f"""
SELECT d.status, {STANDING} AS standing, COUNT(*) FROM ({WINDOW_OF_ATTEMPTED}) AS looked_at CROSS JOIN deliveries d
LEFT JOIN recipients r ON r.recipient_id = d.recipient_id
WHERE d.event_id = looked_at.event_id AND d.recipient_id = looked_at.recipient_id AND d.status IN ('failed', 'unknown')
GROUP BY d.status, standing
"""  # noqa: S608 - statements of our own
SELECT_STANDING = f"""
SELECT d.status, {STANDING}, 1 FROM deliveries d LEFT JOIN recipients r ON r.recipient_id = d.recipient_id
WHERE d.event_id = :event_id AND d.recipient_id = :recipient_id AND d.status IN ('failed', 'unknown')
"""  # noqa: S608 - statements of our own
REACTIVATE = f"""
UPDATE recipients SET status = 'active', bounced_event_id = NULL
WHERE status = 'rejected' AND removed_at IS NULL AND recipient_id IN (
    SELECT d.recipient_id FROM ({WINDOW_OF_ATTEMPTED}) AS looked_at CROSS JOIN deliveries d
    WHERE d.event_id = looked_at.event_id AND d.recipient_id = looked_at.recipient_id AND d.status = 'failed')
"""  # noqa: S608 - statements of our own
SET_DECIDED = """
UPDATE deliveries SET status = :status, finished_at = :now, reply = :reply
WHERE event_id = :event_id AND recipient_id = :recipient_id AND status = 'unknown'
"""
SELECT_STATUS = "SELECT status FROM deliveries WHERE event_id = :event_id AND recipient_id = :recipient_id"
INSERT_ATTEMPT = """
INSERT INTO attempts (event_id, recipient_id, attempted_at, outcome, reply)
VALUES (:event_id, :recipient_id, :at, :outcome, :reply)
"""
DECISION_REPLIES = {"sent": "marked as delivered by hand", "failed": "marked as failed by hand"}


class Standings(NamedTuple):
    """The number of failed and unknown deliveries, by (status, standing of the recipient).

    The standing is the status of the recipient, `removed`, or `left`: they are no longer on any of the email's lists. A
    retry queues only deliveries to `active` recipients.
    """

    counts: Mapping[tuple[str, str], int]
    is_complete: bool = True  # if False, there may be more

    def retryable(self, *statuses: str) -> int:
        """Return how many deliveries with these statuses a retry would queue."""
        return sum(self.counts.get((status, "active"), 0) for status in statuses)

    def blocked(self, *statuses: str) -> dict[str, int]:
        """Return how many deliveries with these statuses a retry would skip, by the standing of the recipient."""
        blocked: Counter[str] = Counter()
        for (status, standing), count in self.counts.items():
            if status in statuses and standing != "active":
                blocked[standing] += count
        return dict(sorted(blocked.items()))


class Retries:
    """Retries and decisions; a base class of Deliveries."""

    _connection: Connection
    _progress: ProgressTable
    _hours: HourlyStats

    def retry(
        self,
        event_id: int,
        now: datetime,
        statuses: Sequence[str] = RETRYABLE_STATUSES,
        recipient_ids: Iterable[int] | None = None,
    ) -> int:
        """Queue failed and unknown deliveries again, for all recipients or for these. Return how many.

        Deliveries to recipients who are no longer active are skipped. The email becomes `sending`. Raises NoSuchEmail,
        or NotRetryable unless the email is being sent or was sent.
        """
        self._check_retryable(event_id)
        second = epoch_seconds(now)
        batches = self._batches(event_id, recipient_ids)
        return sum(self._retry_some(event_id, second, statuses, batch) for batch in batches)

    def standings(
        self, event_id: int, recipient_ids: Iterable[int] | None = None, limit: int | None = None
    ) -> Standings:
        """Count failed and unknown deliveries by the standing of their recipients, for all recipients or for these.

        With `limit`, only about that many deliveries are read.
        """
        counts: Counter[tuple[str, str]] = Counter()
        seen = 0
        for batch in self._batches(event_id, recipient_ids):
            for status, standing, count in self._standings_of(event_id, batch, recipient_ids is None):
                counts[status, standing] += count
            seen += len(batch)
            if limit is not None and seen >= limit:
                return Standings(counts, is_complete=len(batch) < BATCH_SIZE)
        return Standings(counts)

    def reactivate_rejected(self, event_id: int) -> int:
        """Make the rejected recipients of failed deliveries active again. Return how many there were.

        Raises NoSuchEmail, or NotRetryable unless the email is being sent or was sent.
        """
        self._check_retryable(event_id)
        reactivated = 0
        for batch in self._attempted(event_id):
            with self._connection.transaction():
                reactivated += self._connection.execute(REACTIVATE, **_window(event_id, batch))
        return reactivated

    def _standings_of(self, event_id: int, recipient_ids: Sequence[int], is_window: bool) -> list[Row]:
        if is_window:
            return self._connection.fetch_all(COUNT_STANDINGS, **_window(event_id, recipient_ids))
        statements: list[Statement] = [
            (SELECT_STANDING, {"event_id": event_id, "recipient_id": recipient_id}) for recipient_id in recipient_ids
        ]
        return [row for rows in cast("list[list[Row]]", self._connection.execute_pipelined(statements)) for row in rows]

    def decide(self, event_id: int, recipient_id: int, status: str, now: datetime) -> None:
        """Record an operator's decision that an `unknown` delivery was `sent` or `failed`. Raises NotInDoubt."""
        if not self._decide_some(event_id, status, epoch_seconds(now), [recipient_id]):
            row = self._connection.fetch_one(SELECT_STATUS, event_id=event_id, recipient_id=recipient_id)
            raise NotInDoubt(event_id, recipient_id, None if row is None else row[0])

    def decide_each(self, event_id: int, status: str, now: datetime, recipient_ids: Iterable[int] | None = None) -> int:
        """Decide all `unknown` deliveries of an email, or those to these recipients. Return how many there were."""
        second = epoch_seconds(now)
        batches = self._batches(event_id, recipient_ids)
        return sum(self._decide_some(event_id, status, second, batch) for batch in batches)

    def _check_retryable(self, event_id: int) -> None:
        status = self._progress.email_status(event_id)
        if status not in ("sending", "sent"):
            raise NotRetryable(event_id, status)

    def _retry_some(self, event_id: int, now: int, statuses: Sequence[str], recipient_ids: Sequence[int]) -> int:
        with self._connection.transaction():
            self._progress.lock(event_id)
            self._check_retryable(event_id)  # the email may have been cancelled since the last batch
            counts: Counter[str] = Counter()
            for status in statuses:
                rows = [(now, now, event_id, recipient_id, status) for recipient_id in recipient_ids]
                counts[status] -= self._connection.executemany(QUEUE_AGAIN, rows)
            if any(counts.values()):
                self._progress.reopen(event_id)
                self._progress.count(event_id, counts, now)
                self._connection.notify()
            return -counts.total()

    def _decide_some(self, event_id: int, status: str, now: int, recipient_ids: Sequence[int]) -> int:
        with self._connection.transaction():
            self._progress.lock(event_id)
            reply = DECISION_REPLIES[status]
            keys = ({"event_id": event_id, "recipient_id": recipient_id} for recipient_id in recipient_ids)
            values = {"status": status, "now": now, "reply": reply}
            decided = [key for key in keys if self._connection.execute(SET_DECIDED, **key, **values)]
            if status == "failed":
                for key in decided:
                    self._connection.execute(INSERT_ATTEMPT, **key, at=now, outcome="failed", reply=reply)
            if decided:
                self._progress.count(event_id, {"unknown": -len(decided), status: len(decided)}, now)
                self._connection.execute_pipelined([self._hours.count_statement(status, event_id, now, len(decided))])
            return len(decided)

    def _batches(self, event_id: int, recipient_ids: Iterable[int] | None) -> Iterator[Sequence[int]]:
        """Yield these recipients, or all that had an unsuccessful attempt, BATCH_SIZE at a time."""
        if recipient_ids is None:
            yield from self._attempted(event_id)
            return
        ids = sorted(set(recipient_ids))
        for start in range(0, len(ids), BATCH_SIZE):
            yield ids[start : start + BATCH_SIZE]

    def _attempted(self, event_id: int) -> Iterator[Sequence[int]]:
        after = 0
        while rows := self._connection.fetch_all(SELECT_ATTEMPTED, event_id=event_id, after=after, limit=BATCH_SIZE):
            after = rows[-1][0]
            yield [recipient_id for (recipient_id,) in rows]


def _window(event_id: int, recipient_ids: Sequence[int]) -> dict[str, int]:
    """Return the values for WINDOW_OF_ATTEMPTED that select a batch of `_attempted`."""
    return {"event_id": event_id, "after": recipient_ids[0] - 1, "window": len(recipient_ids)}
