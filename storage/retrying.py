"""What a person does about deliveries that did not succeed: puts them in line again, or says what became of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from storage.connection import Connection
from storage.errors import NoSuchEmail, NotInDoubt, NotRetryable
from storage.hours import Hours
from storage.progress import ProgressTable

CHUNK = 2_000  # deliveries put in line in one transaction

EMAIL_STATUS = "SELECT status FROM emails WHERE event_id = :event_id"
TRIED = """
SELECT DISTINCT recipient_id FROM attempts WHERE event_id = :event_id AND recipient_id > :after
ORDER BY recipient_id LIMIT :limit
"""
# Only what was tried, and only for those who still want it.
RETRY = """
UPDATE deliveries SET status = 'queued', queued_at = ?, next_attempt_at = ?, doubts = 0, finished_at = NULL
WHERE event_id = ? AND recipient_id = ? AND status = ? AND EXISTS (
    SELECT 1 FROM attempts a
    WHERE a.event_id = deliveries.event_id AND a.recipient_id = deliveries.recipient_id) AND EXISTS (
    SELECT 1 FROM recipients r
    WHERE r.recipient_id = deliveries.recipient_id AND r.status = 'active' AND r.removed_at IS NULL)
"""
DECIDE = """
UPDATE deliveries SET status = :status, finished_at = :now, reply = :reply
WHERE event_id = :event_id AND recipient_id = :recipient_id AND status = 'unknown'
"""
STATUS = "SELECT status FROM deliveries WHERE event_id = :event_id AND recipient_id = :recipient_id"
NOTE = """
INSERT INTO attempts (event_id, recipient_id, attempted_at, outcome, reply)
VALUES (:event_id, :recipient_id, :now, 'failed', :reply)
"""
DECIDED = {"sent": "a person decided: it was sent", "failed": "a person decided: it was not sent"}


def retry(
    connection: Connection,
    progress: ProgressTable,
    event_id: int,
    now: int,
    statuses: Sequence[str],
    recipient_ids: Iterable[int] | None,
) -> int:
    """Put deliveries of an email in line again, some in each transaction; how many."""
    _refuse(connection, event_id)
    given = _chunks(sorted(set(recipient_ids))) if recipient_ids is not None else _tried(connection, event_id)
    return sum(_retry_some(connection, progress, event_id, now, statuses, chunk) for chunk in given)


def decide(
    connection: Connection, progress: ProgressTable, event_id: int, recipient_id: int, status: str, now: int
) -> None:
    """Declare a delivery that is `unknown` to be `sent` or `failed`."""
    if not _decide_some(connection, progress, event_id, status, now, [recipient_id]):
        row = connection.row(STATUS, event_id=event_id, recipient_id=recipient_id)
        raise NotInDoubt(event_id, recipient_id, None if row is None else row[0])


def decide_each(
    connection: Connection,
    progress: ProgressTable,
    event_id: int,
    status: str,
    now: int,
    recipient_ids: Iterable[int] | None,
) -> int:
    """Declare the deliveries of an email that are `unknown` to be `sent` or `failed`, some in each transaction."""
    given = _chunks(sorted(set(recipient_ids))) if recipient_ids is not None else _tried(connection, event_id)
    return sum(_decide_some(connection, progress, event_id, status, now, chunk) for chunk in given)


def _refuse(connection: Connection, event_id: int) -> None:
    row = connection.row(EMAIL_STATUS, event_id=event_id)
    if row is None:
        raise NoSuchEmail(event_id)
    if row[0] not in ("sending", "sent"):
        raise NotRetryable(event_id, row[0])


def _retry_some(
    connection: Connection,
    progress: ProgressTable,
    event_id: int,
    now: int,
    statuses: Sequence[str],
    recipient_ids: Sequence[int],
) -> int:
    with connection.transaction():
        progress.lock(event_id)
        _refuse(connection, event_id)  # it may be cancelled between two chunks
        counts: Counter[str] = Counter()
        for status in statuses:
            rows = [(now, now, event_id, recipient_id, status) for recipient_id in recipient_ids]
            counts[status] -= connection.run_many(RETRY, rows)
        if any(counts.values()):
            progress.reopen(event_id)
            progress.count(event_id, counts, now)
            connection.announce()
        return -counts.total()


def _decide_some(
    connection: Connection,
    progress: ProgressTable,
    event_id: int,
    status: str,
    now: int,
    recipient_ids: Sequence[int],
) -> int:
    with connection.transaction():
        progress.lock(event_id)
        rows = (
            {"event_id": event_id, "recipient_id": each, "now": now, "reply": DECIDED[status]} for each in recipient_ids
        )
        decided = [row for row in rows if connection.run(DECIDE, status=status, **row)]
        if status == "failed":
            for row in decided:
                connection.run(NOTE, **row)
        if decided:
            progress.count(event_id, {"unknown": -len(decided), status: len(decided)}, now)
            connection.run_together([Hours(connection).counting(status, event_id, now, len(decided))])
        return len(decided)


def _chunks(recipient_ids: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(recipient_ids), CHUNK):
        yield recipient_ids[start : start + CHUNK]


def _tried(connection: Connection, event_id: int) -> Iterator[Sequence[int]]:
    after = 0
    while rows := connection.rows(TRIED, event_id=event_id, after=after, limit=CHUNK):
        after = rows[-1][0]
        yield [recipient_id for (recipient_id,) in rows]
