"""Pages of deliveries, their attempts, and the reasons why deliveries failed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple, cast

from storage.connection import Connection, Row, Statement
from storage.values import moment, moment_or_none

WINDOW = 2_000  # rows that one page looks at

# Where deliveries of that status are, by an index that has few others: no index speaks of `status`.
ALL = """
SELECT * FROM deliveries WHERE event_id = :event_id AND recipient_id > :after ORDER BY recipient_id LIMIT :window
"""
TRIED = """
SELECT DISTINCT event_id, recipient_id FROM attempts WHERE event_id = :event_id AND recipient_id > :after
ORDER BY event_id, recipient_id LIMIT :window
"""
IN_LINE = """
SELECT * FROM deliveries
WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id AND recipient_id > :after
ORDER BY recipient_id LIMIT :window
"""
# What senders hold of all emails is little; the + 0 keeps databases from looking for it among all of this one.
CLAIMED = """
SELECT * FROM deliveries WHERE claimed_by IS NOT NULL AND event_id + 0 = :event_id AND recipient_id + 0 > :after
ORDER BY recipient_id LIMIT :window
"""
WINDOWS = {
    None: ALL,
    "queued": IN_LINE,
    "claimed": CLAIMED,
    "sending": CLAIMED,
    "sent": ALL,
    "failed": TRIED,
    "unknown": TRIED,
    "cancelled": ALL,
}
# CROSS JOIN: in this order.
OF_TRIED = """
({window}) AS looked_at CROSS JOIN deliveries d
WHERE d.event_id = looked_at.event_id AND d.recipient_id = looked_at.recipient_id
"""
COLUMNS = "recipient_id, address, status, attempts, next_attempt_at, finished_at, reply"
PAGE = f"SELECT {COLUMNS} FROM ({{window}}) AS looked_at WHERE {{wanted}} ORDER BY recipient_id LIMIT :limit"  # noqa: S608
PAGES = {
    status: PAGE.format(
        window=f"SELECT d.* FROM {OF_TRIED.format(window=TRIED)}" if window is TRIED else window,  # noqa: S608
        wanted="status = :status" if status else ":status = 'any'",
    )
    for status, window in WINDOWS.items()
}
END_OF_WINDOW = "SELECT MAX(recipient_id), COUNT(*) FROM ({window}) AS looked_at"
NEXT = """
SELECT next_attempt_at FROM deliveries WHERE claimed_by IS NULL AND finished_at IS NULL AND event_id = :event_id
ORDER BY next_attempt_at LIMIT 1
"""
ATTEMPTS = """
SELECT attempted_at, outcome, reply FROM attempts WHERE event_id = :event_id AND recipient_id = :recipient_id
ORDER BY attempted_at
"""
REPLIES = f"SELECT d.status, d.reply, d.address FROM {OF_TRIED} AND d.status IN ('failed', 'unknown')".format(  # noqa: S608
    window=TRIED
)
CODES = re.compile(r"(\d{3})(?:[ -](\d\.\d{1,3}\.\d{1,3})\b)?")  # RFC 5321 section 4.2, RFC 3463


class DeliveryRow(NamedTuple):
    """One email to one recipient. `reply` is the last that a server, or a person, said of it."""

    recipient_id: int
    address: str
    status: str
    attempts: int
    next_attempt_at: datetime
    finished_at: datetime | None
    reply: str | None


class DeliveryPage(NamedTuple):
    """Some deliveries, and after which recipient the next page begins; None: this was the last one."""

    rows: list[DeliveryRow]
    next_after: int | None


class Attempt(NamedTuple):
    """One try that did not succeed: `deferred`, `failed` or `in_doubt`."""

    at: datetime
    outcome: str
    reply: str


class Reason(NamedTuple):
    """Why deliveries are `failed` or `unknown`: the server's codes, or the words where there are none."""

    status: str
    reason: str
    count: int  # type: ignore[assignment]  # instead of tuple's own, which nobody calls
    example_address: str
    example_reply: str


class DeliveryLists:
    """The lists of deliveries; a part of Deliveries. Each page reads a bounded number of rows."""

    _connection: Connection

    def page(self, event_id: int, after: int = 0, limit: int = 100, status: str | None = None) -> DeliveryPage:
        """Return up to `limit` deliveries of an email after this recipient, of this status or of any.

        The work is bounded: a page may be short, or empty, and still have a next one.
        """
        values = {"event_id": event_id, "after": after, "window": WINDOW}
        found = self._connection.fetch_all(PAGES[status], status=status or "any", limit=limit, **values)
        rows = [row_of(*row) for row in found]
        if len(rows) == limit:
            return DeliveryPage(rows, rows[-1].recipient_id)
        ((last, size),) = self._connection.fetch_all(END_OF_WINDOW.format(window=WINDOWS[status]), **values)
        return DeliveryPage(rows, last if size == WINDOW else None)

    def next_of(self, event_id: int) -> datetime | None:
        """Return when the next queued delivery of an email is to be tried, which may be in the past."""
        row = self._connection.fetch_one(NEXT, event_id=event_id)
        return None if row is None else moment(row[0])

    def attempts(self, event_id: int, recipient_id: int) -> list[Attempt]:
        """Return the attempts of one delivery that did not succeed, oldest first."""
        return self.attempts_of_each(event_id, [recipient_id])[recipient_id]

    def attempts_of_each(self, event_id: int, recipient_ids: Sequence[int]) -> dict[int, list[Attempt]]:
        """Return the same for several recipients, in one round trip to a database server."""
        statements: list[Statement] = [
            (ATTEMPTS, {"event_id": event_id, "recipient_id": recipient_id}) for recipient_id in recipient_ids
        ]
        results = cast("list[list[Row]]", self._connection.execute_pipelined(statements))
        attempts = [[Attempt(moment(at), outcome, reply) for at, outcome, reply in rows] for rows in results]
        return dict(zip(recipient_ids, attempts, strict=True))

    def reasons(self, event_id: int, most: int = 5000) -> list[Reason]:
        """Return why deliveries are failed or unknown, the most frequent reason first.

        Only the first `most` deliveries that had such an attempt are read.
        """
        groups: dict[tuple[str, str], Reason] = {}
        for (status, reply), (count, address) in self._replies(event_id, most).items():
            reason = _reason(reply)
            first = groups.get((status, reason)) or Reason(status, reason, 0, address, reply)
            groups[status, reason] = first._replace(count=first.count + count)
        return sorted(groups.values(), key=lambda group: (-group.count, group.status, group.reason))

    def _replies(self, event_id: int, most: int) -> dict[tuple[str, str], tuple[int, str]]:
        """Return how often each status came with each reply, and the first address for which it did."""
        found: dict[tuple[str, str], tuple[int, str]] = {}
        for status, reply, address in self._connection.fetch_all(REPLIES, event_id=event_id, after=0, window=most):
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
    codes = CODES.match(reply)
    return " ".join(code for code in codes.groups() if code) if codes else reply
