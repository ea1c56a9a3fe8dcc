"""The filters of the schedule: parse the query string, and read a page of the list by key."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple
from urllib.parse import urlencode

from database import EMAIL_STATUSES, Database, EmailSummary
from intake.errors import ValidationError
from intake.fields import Fields, choice, number, text
from intake.search import clean_subject_search
from intake.text import printable
from web.api.params import cursor_of, email_cursor
from web.services import current_settings

PAGE_SIZE = 50  # rows
ALL, WITH_FAILURES = "all", "failed"  # besides the statuses: all emails, and those that not everyone received
CHOICES = (ALL, *EMAIL_STATUSES, WITH_FAILURES)
NAMES = ("event_id", "search", "status", "day", "after")
NO_WORDS: Sequence[str] = ()
SMALLEST, LARGEST = -(2**63), 2**63 - 1  # of any event_id
DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")

Key = tuple[datetime, int]  # when it is due, and its event_id


class Day(NamedTuple):
    """A day in the service's zone, with the second before it and the second after it."""

    date: date
    before: datetime
    after: datetime


class Filters(NamedTuple):
    """Which emails to show: one, or those with a status or on a day, after a key."""

    event_id: int | None = None
    status: str | None = None
    day: Day | None = None
    after: Key | None = None
    search: Sequence[str] = ()  # folded words in the subject
    text: str = ""  # the search as it was entered

    @property
    def newest_first(self) -> bool:
        """Whether the newest email comes first. A day and upcoming emails are in chronological order."""
        return self.status == WITH_FAILURES or (self.day is None and self.status not in ("scheduled", "sending"))

    def address(self, after: Key | None = None) -> str:
        """Return the URL of this list, after a key."""
        values = {
            "search": self.text or None,
            "status": self.status,
            "day": self.day and self.day.date,
            "after": after and cursor_of(*after),
        }
        return "/?" + urlencode({name: value for name, value in values.items() if value is not None})


class Listed(NamedTuple):
    """A page of the list, and the key after which the next page starts."""

    emails: list[EmailSummary]
    next: Key | None


def read(arguments: dict[str, str]) -> tuple[Filters, list[ValidationError]]:
    """Parse the query string. Return the filters and the errors. An empty field is ignored."""
    fields = Fields({name: arguments[name].strip() for name in NAMES if arguments.get(name, "").strip()}, NAMES)
    filters = Filters(
        event_id=fields.take_or("event_id", number, None).value_or(None),
        status=fields.take_or("status", choice(*CHOICES), None).value_or(None),
        day=fields.take_or("day", _day, None).value_or(None),
        after=fields.take_or("after", email_cursor, None).value_or(None),
        search=fields.take_or("search", text(clean_subject_search), NO_WORDS).value_or(NO_WORDS),
        text=arguments.get("search", "").strip(),
    )
    return filters, fields.errors


def load_page(database: Database, filters: Filters) -> Listed:
    """Read a page of the emails that match the filters."""
    if filters.search:
        return _search(database, filters)
    emails = _list_of(database, filters)(filters.after or _start(filters), PAGE_SIZE + 1)
    inside = [email for email in emails if _is_of(filters.day, _at(filters, email))]
    page = inside[:PAGE_SIZE]
    return Listed(page, (_at(filters, page[-1]), page[-1].event_id) if len(inside) > PAGE_SIZE else None)


def _search(database: Database, filters: Filters) -> Listed:
    """Read a page of the search. The list is in the order of time, so a day ends where the first later email is."""
    with_failures = filters.status == WITH_FAILURES
    status = None if with_failures or filters.status == ALL else filters.status
    after = filters.after or _start(filters)
    found = database.emails.search(
        filters.search, after, PAGE_SIZE, status, filters.newest_first, with_failures=with_failures
    )
    inside = [email for email in found.rows if _is_of(filters.day, _at(filters, email))]
    goes_on = found.next_after is not None and _is_of(filters.day, found.next_after[0])
    return Listed(inside, found.next_after if goes_on else None)


def _list_of(database: Database, filters: Filters) -> Callable[[Key | None, int], list[EmailSummary]]:
    if filters.status == WITH_FAILURES:
        return database.emails.page_with_failures
    status = None if filters.status == ALL else filters.status
    return lambda after, limit: database.emails.page(after, limit, status, filters.newest_first)


def _at(filters: Filters, email: EmailSummary) -> datetime:
    """Return the time by which the list is ordered."""
    return email.started_at if filters.status == WITH_FAILURES and email.started_at else email.due_at


def _is_of(day: Day | None, moment: datetime) -> bool:
    return day is None or day.before < moment < day.after


def _start(filters: Filters) -> Key | None:
    if filters.day is None:
        return None
    return (filters.day.after, SMALLEST) if filters.newest_first else (filters.day.before, LARGEST)


def _day(value: object) -> Day:
    if not isinstance(value, str) or not DAY.fullmatch(value):
        raise ValidationError(
            "day", f"{printable(str(value), 40)} is not a date. Use YYYY-MM-DD, for example 2026-11-25"
        )
    try:
        day = date.fromisoformat(value)
        return Day(day, _midnight(day) - timedelta(seconds=1), _midnight(day + timedelta(days=1)))
    except (ValueError, OverflowError):
        raise ValidationError("day", f"{value} is not a valid date") from None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), current_settings().timezone).astimezone(UTC)
