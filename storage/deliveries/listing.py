"""List deliveries in pages, with their attempts and the reasons for failures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, cast

from storage.connection import Connection, Row, Statement
from storage.values import moment, moment_or_none

WINDOW_SIZE = 2_000  # rows that one page reads

# Each window contains all deliveries with a status. No index includes `status`, so each uses one that finds few others.
WINDOW_OF_ALL = """
SELECT * FROM deliveries WHERE event_id = :event_id AND recipient_id > :after ORDER BY recipient_id LIMIT :window
"""
WINDOW_OF_ATTEMPTED = """
SELECT DISTINCT event_id, recipient_id FROM attempts WHERE event_id = :event_id AND recipient_id > :after
ORDER BY event_id, recipient_id LIMIT :window
"""
WINDOW_OF_QUEUED = """
SELECT * FROM deliveries
WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id AND recipient_id > :after
ORDER BY recipient_id LIMIT :window
"""
# Senders hold few deliveries at a time. The + 0 keeps the planner from searching all deliveries of the email for them.
WINDOW_OF_CLAIMED = """
SELECT * FROM deliveries WHERE claimed_by IS NOT NULL AND event_id + 0 = :event_id AND recipient_id + 0 > :after
ORDER BY recipient_id LIMIT :window
"""
WINDOWS = {
    None: WINDOW_OF_ALL,
    "queued": WINDOW_OF_QUEUED,
    "claimed": WINDOW_OF_CLAIMED,
    "sending": WINDOW_OF_CLAIMED,
    "sent": WINDOW_OF_ALL,
    "failed": WINDOW_OF_ATTEMPTED,
    "unknown": WINDOW_OF_ATTEMPTED,
    "cancelled": WINDOW_OF_ALL,
}
# SQLite never reorders the tables of a CROSS JOIN.
JOIN_ATTEMPTED = """
({window}) AS looked_at CROSS JOIN deliveries d
WHERE d.event_id = looked_at.event_id AND d.recipient_id = looked_at.recipient_id
"""
COLUMNS = "recipient_id, address, status, attempts, next_attempt_at, finished_at, reply"
SELECT_ATTEMPTED = f"SELECT d.* FROM {JOIN_ATTEMPTED}".format(window=WINDOW_OF_ATTEMPTED)  # noqa: S608
PAGE_OF_WINDOW = """
SELECT {columns} FROM ({window}) AS looked_at WHERE {condition} ORDER BY recipient_id LIMIT :limit
"""
SELECT_PAGE = {
    status: PAGE_OF_WINDOW.format(
        columns=COLUMNS,
        window=SELECT_ATTEMPTED if window is WINDOW_OF_ATTEMPTED else window,
        condition="status = :status" if status else ":status = 'any'",
    )
    for status, window in WINDOWS.items()
}
SELECT_END_OF_WINDOW = "SELECT MAX(recipient_id), COUNT(*) FROM ({window}) AS looked_at"
NEXT_ATTEMPT_AT = """
SELECT next_attempt_at FROM deliveries WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id
ORDER BY next_attempt_at LIMIT 1
"""
SELECT_ATTEMPTS = """
SELECT attempted_at, outcome, reply FROM attempts WHERE event_id = :event_id AND recipient_id = :recipient_id
ORDER BY attempted_at
"""
SELECT_REPLIES = (
    f"SELECT d.status, d.reply, d.address FROM {JOIN_ATTEMPTED} AND d.status IN ('failed', 'unknown')".format(  # noqa: S608
        window=WINDOW_OF_ATTEMPTED
    )
)
REPLY_CODES = re.compile(r"(\d{3})(?:[ -](\d\.\d{1,3}\.\d{1,3})\b)?")  # RFC 5321 section 4.2, RFC 3463


class DeliveryRow(NamedTuple):
    """One email to one recipient. `reply` is the last reply of a server, or an operator's decision."""

    recipient_id: int
    address: str
    status: str
    attempts: int
    next_attempt_at: datetime
    finished_at: datetime | None
    reply: str | None


class DeliveryPage(NamedTuple):
    """A page of deliveries. The next one begins after the recipient_id `next_after`; None: this is the last page."""

    rows: list[DeliveryRow]
    next_after: int | None


class Attempt(NamedTuple):
    """One unsuccessful attempt. `outcome` is `deferred`, `failed` or `in_doubt`."""

    at: datetime
    outcome: str
    reply: str


class Reason(NamedTuple):
    """Why deliveries are `failed` or `unknown`. `reason` is the server's codes, or the whole reply if it has none."""

    status: str
    reason: str
    count: int  # type: ignore[assignment]  # instead of tuple's own, which nobody calls
    example_address: str
    example_reply: str


class DeliveryLists:
    """The lists of deliveries; a base class of Deliveries. Each page reads a bounded number of rows."""

    _connection: Connection

    def page(self, event_id: int, after: int = 0, limit: int = 100, status: str | None = None) -> DeliveryPage:
        """Return up to `limit` deliveries of an email after the recipient_id `after`, with `status` or (None) with any.

        The work is bounded, so a page can be short or empty and still have a next one.
        """
        values = {"event_id": event_id, "after": after, "window": WINDOW_SIZE}
        found = self._connection.fetch_all(SELECT_PAGE[status], status=status or "any", limit=limit, **values)
        rows = [row_of(*row) for row in found]
        if len(rows) == limit:
            return DeliveryPage(rows, rows[-1].recipient_id)
        ((last, size),) = self._connection.fetch_all(SELECT_END_OF_WINDOW.format(window=WINDOWS[status]), **values)
        return DeliveryPage(rows, last if size == WINDOW_SIZE else None)

    def next_of(self, event_id: int) -> datetime | None:
        """Return when the next queued delivery of an email is due, which may be in the past, or None."""
        row = self._connection.fetch_one(NEXT_ATTEMPT_AT, event_id=event_id)
        return None if row is None else moment(row[0])

    def attempts(self, event_id: int, recipient_id: int) -> list[Attempt]:
        """Return the unsuccessful attempts of one delivery, oldest first."""
        return self.attempts_of_each(event_id, [recipient_id])[recipient_id]

    def attempts_of_each(self, event_id: int, recipient_ids: Sequence[int]) -> dict[int, list[Attempt]]:
        """Return the unsuccessful attempts for each of several recipients, in one round trip to a database server."""
        statements: list[Statement] = [
            (SELECT_ATTEMPTS, {"event_id": event_id, "recipient_id": recipient_id}) for recipient_id in recipient_ids
        ]
        results = cast("list[list[Row]]", self._connection.execute_pipelined(statements))
        attempts = [[Attempt(moment(at), outcome, reply) for at, outcome, reply in rows] for rows in results]
        return dict(zip(recipient_ids, attempts, strict=True))

    def reasons(self, event_id: int, limit: int = 5000) -> list[Reason]:
        """Return the reasons why deliveries are failed or unknown, the most frequent first.

        Reads only the first `limit` deliveries that had an unsuccessful attempt.
        """
        groups: dict[tuple[str, str], Reason] = {}
        for (status, reply), (count, address) in self._replies(event_id, limit).items():
            reason = _reason(reply)
            first = groups.get((status, reason)) or Reason(status, reason, 0, address, reply)
            groups[status, reason] = first._replace(count=first.count + count)
        return sorted(groups.values(), key=lambda group: (-group.count, group.status, group.reason))

    def _replies(self, event_id: int, limit: int) -> dict[tuple[str, str], tuple[int, str]]:
        """Return the number of deliveries with each (status, reply), and the first address of each."""
        found: dict[tuple[str, str], tuple[int, str]] = {}
        for status, reply, address in self._connection.fetch_all(
            SELECT_REPLIES, event_id=event_id, after=0, window=limit
        ):
            count, first = found.get((status, reply or ""), (0, address))
            found[status, reply or ""] = count + 1, first
        return found


def row_of(
    recipient_id: int,
    address: str,
    status: str,
    attempts: int,
    next_attempt_at: int,
    finished_at: int | None,
    reply: str | None,
) -> DeliveryRow:
    times = moment(next_attempt_at), moment_or_none(finished_at)
    return DeliveryRow(recipient_id, address, status, attempts, *times, reply)


def _reason(reply: str) -> str:
    codes = REPLY_CODES.match(reply)
    return " ".join(code for code in codes.groups() if code) if codes else reply
