"""List emails in pages, by due time. A page costs the same however many emails there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from storage.connection import Connection, Row
from storage.search.words import fold_value
from storage.values import EMAIL_STATUSES, epoch_seconds, moment, moment_or_none

MAX_SEARCHED = 20_000  # emails whose subjects are compared for one page
FIRST_WINDOW, MAX_WINDOW = 500, 4_000  # emails read by one statement of a search
MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1

SELECT_SUMMARY = """
SELECT e.event_id, e.subject, e.due_at, e.created_at, e.finished_at, e.status, e.held_because,
    COALESCE(p.deliveries, 0), COALESCE(p.sent, 0), COALESCE(p.failed, 0), COALESCE(p.unknown, 0),
    COALESCE(p.cancelled, 0), COALESCE(CASE
        WHEN p.cursor_id < p.last_recipient_id AND p.recipients > p.deliveries THEN p.recipients ELSE p.deliveries
    END, 0), p.started_at, p.first_sent_at, p.last_sent_at,
    e.audience, e.recipients_max, e.reply_to, e.from_name, e.personal
FROM {page} JOIN emails e ON e.event_id = page.event_id LEFT JOIN progress p ON p.event_id = e.event_id
"""
# The statuses are part of the SQL, because partial indexes are used only if the SQL names them. The statement takes one
# page per status, and then the first rows of all of these, so it reads no more than a page for each status.
KEYS_OF_STATUS = """
SELECT due_at, event_id FROM emails
WHERE status = '{status}' AND (due_at, event_id) {after} (:due_at, :event_id)
ORDER BY due_at {order}, event_id {order} LIMIT :limit
"""
KEYS_WITH_FAILURES = """
SELECT started_at, event_id FROM progress
WHERE failed + unknown > 0 AND (started_at, event_id) < (:started_at, :event_id)
ORDER BY started_at DESC, event_id DESC LIMIT :limit
"""

SELECT_SUBJECTS = """
SELECT page.{time}, page.event_id, e.subject FROM ({{page}}) AS page JOIN emails e ON e.event_id = page.event_id
ORDER BY page.{time} {{order}}, page.event_id {{order}}
"""

Key = tuple[datetime, int]  # due_at (in a page with failures: started_at), event_id


class EmailSummary(NamedTuple):
    """An email without its content, and its progress. All counts are 0 before it is started."""

    event_id: int
    subject: str
    due_at: datetime
    created_at: datetime
    finished_at: datetime | None
    status: str
    held_because: str | None
    deliveries: int
    sent: int
    failed: int
    unknown: int
    cancelled: int
    expected: int  # how many deliveries there will be
    started_at: datetime | None
    first_sent_at: datetime | None
    last_sent_at: datetime | None
    audience: str = "everyone"  # | 'everyone_but' some lists | 'lists' | 'named'
    recipients_max: int | None = None
    reply_to: str | None = None
    from_name: str | None = None
    personal: bool = False

    @property
    def unfinished(self) -> int:
        """How many deliveries have no final status yet, including those that do not exist yet."""
        return self.expected - self.sent - self.failed - self.unknown - self.cancelled

    @property
    def lateness(self) -> tuple[int, int] | None:
        """Seconds from the due time to the first and to the last acceptance by a server, or None before the first."""
        if self.first_sent_at is None or self.last_sent_at is None:
            return None
        return int((self.first_sent_at - self.due_at).total_seconds()), int(
            (self.last_sent_at - self.due_at).total_seconds()
        )


def keys_of(statuses: tuple[str, ...], newest_first: bool) -> str:
    """Return the statement for the next `limit` keys (due_at, event_id) of emails with any of `statuses`."""
    after, order = ("<", "DESC") if newest_first else (">", "ASC")
    each = (KEYS_OF_STATUS.format(status=status, after=after, order=order) for status in statuses)
    union = " UNION ALL ".join(f"SELECT * FROM ({one}) AS one" for one in each)  # noqa: S608 - texts of our own
    return f"SELECT due_at, event_id FROM ({union}) AS each ORDER BY due_at {order}, event_id {order} LIMIT :limit"  # noqa: S608


def _page_of(statuses: tuple[str, ...], newest_first: bool) -> str:
    order = "DESC" if newest_first else "ASC"
    page = f"({keys_of(statuses, newest_first)}) AS page"
    return f"{SELECT_SUMMARY.format(page=page)} ORDER BY page.due_at {order}, page.event_id {order}"


SELECT_PAGE_WITH_FAILURES = (
    SELECT_SUMMARY.format(page=f"({KEYS_WITH_FAILURES}) AS page") + "ORDER BY page.started_at DESC, page.event_id DESC"
)
SELECT_ONE = SELECT_SUMMARY.format(page="(SELECT CAST(:event_id AS BIGINT) AS event_id) AS page")
SELECT_PAGE = {
    (status, newest_first): _page_of(EMAIL_STATUSES if status is None else (status,), newest_first)
    for status in (None, *EMAIL_STATUSES)
    for newest_first in (False, True)
}


class EmailsFound(NamedTuple):
    """A page of the emails that match a search. The next one begins after the key `next_after`; None: the last page.

    At most MAX_SEARCHED subjects are compared for a page, so a page can be short or empty and still have a next one.
    """

    rows: list[EmailSummary]
    next_after: Key | None


class EmailLists:
    """The lists of emails; a base class of Emails."""

    _connection: Connection

    def page(
        self, after: Key | None = None, limit: int = 100, status: str | None = None, newest_first: bool = False
    ) -> list[EmailSummary]:
        """Return up to `limit` emails after this (due_at, event_id), in that order, or reversed if `newest_first`."""
        values = key_values(after, newest_first)
        return [
            _summary(*row)
            for row in self._connection.fetch_all(SELECT_PAGE[status, newest_first], limit=limit, **values)
        ]

    def due_times(self, after: Key, limit: int, status: str) -> list[datetime]:
        """Return when up to `limit` emails with this status are due, after this (due_at, event_id), in order."""
        sql = keys_of((status,), newest_first=False)
        rows = self._connection.fetch_all(sql, limit=limit, **key_values(after, newest_first=False))
        return [moment(due_at) for due_at, _ in rows]

    def page_with_failures(self, after: Key | None = None, limit: int = 100) -> list[EmailSummary]:
        """Return up to `limit` emails with failed or unknown deliveries, the most recently started first.

        The page begins after this (started_at, event_id).
        """
        key = {"started_at": MAX_INTEGER, "event_id": MAX_INTEGER}
        if after is not None:
            key = {"started_at": epoch_seconds(after[0]), "event_id": after[1]}
        return [_summary(*row) for row in self._connection.fetch_all(SELECT_PAGE_WITH_FAILURES, limit=limit, **key)]

    def search(
        self,
        words: Sequence[str],
        after: Key | None = None,
        limit: int = 100,
        status: str | None = None,
        newest_first: bool = False,
        *,
        with_failures: bool = False,
    ) -> EmailsFound:
        """Return up to `limit` emails whose subject contains all of these words, in the order of `page`.

        The words are folded by `fold_value`. With `with_failures`, search only the emails of `page_with_failures`, in
        their order.
        """
        key: tuple[int, int] | None = _raw_key(after, newest_first or with_failures)
        found: list[tuple[int, int]] = []
        compared, window = 0, FIRST_WINDOW
        while key is not None and len(found) <= limit and compared < MAX_SEARCHED:
            rows = self._subjects(key, window, status, newest_first, with_failures)
            found += [(at, event_id) for at, event_id, subject in rows if _contains(subject, words)]
            compared += len(rows)
            key = (rows[-1][0], rows[-1][1]) if len(rows) == window else None
            window = min(2 * window, MAX_WINDOW)
        if len(found) > limit:
            found = found[:limit]
            key = found[-1]
        return EmailsFound(self._summaries([event_id for _, event_id in found]), key and (moment(key[0]), key[1]))

    def _subjects(
        self, key: tuple[int, int], limit: int, status: str | None, newest_first: bool, with_failures: bool
    ) -> list[Row]:
        values: dict[str, int] = {"event_id": key[1], "limit": limit}
        if with_failures:
            sql = SELECT_SUBJECTS.format(time="started_at").format(page=KEYS_WITH_FAILURES, order="DESC")
            return self._connection.fetch_all(sql, started_at=key[0], **values)
        keys = keys_of(EMAIL_STATUSES if status is None else (status,), newest_first)
        sql = SELECT_SUBJECTS.format(time="due_at").format(page=keys, order="DESC" if newest_first else "ASC")
        return self._connection.fetch_all(sql, due_at=key[0], **values)

    def _summaries(self, event_ids: Sequence[int]) -> list[EmailSummary]:
        """Return these emails, in this order, except those that have been deleted since."""
        return [found for event_id in event_ids if (found := self.summary(event_id)) is not None]

    def summary(self, event_id: int) -> EmailSummary | None:
        """Return an email without its content, or None."""
        row = self._connection.fetch_one(SELECT_ONE, event_id=event_id)
        return None if row is None else _summary(*row)


def _contains(subject: str, words: Sequence[str]) -> bool:
    folded = fold_value(subject)
    return all(word in folded for word in words)


def _raw_key(after: Key | None, newest_first: bool) -> tuple[int, int]:
    values = key_values(after, newest_first)
    return values["due_at"], values["event_id"]


def key_values(after: Key | None, newest_first: bool) -> dict[str, int]:
    """Return the parameters of a `keys_of` statement. `after` is None for the first page."""
    if after is None:
        edge = MAX_INTEGER if newest_first else MIN_INTEGER
        return {"due_at": edge, "event_id": edge}
    return {"due_at": epoch_seconds(after[0]), "event_id": after[1]}


def _summary(*row: Any) -> EmailSummary:
    event_id, subject, due_at, created_at, finished_at, status, held_because, *more = row
    times = moment(due_at), moment(created_at), moment_or_none(finished_at)
    counts, progress_times, options, personal = more[:6], map(moment_or_none, more[6:9]), more[9:-1], bool(more[-1])
    return EmailSummary._make(
        (event_id, subject, *times, status, held_because, *counts, *progress_times, *options, personal)
    )
