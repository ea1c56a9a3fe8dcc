"""Weeks of emails: the month of the calendar, and the next weeks beside the schedule."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from itertools import groupby
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo

from database import Database, EmailSummary
from web.pages.schedule.email_filter import LARGEST

WEEK = 7
NEXT_WEEKS = 5
Day = TypeVar("Day")
MAX_NEXT, MAX_MONTH = 1_000, 500  # emails that are read


class CalendarDay(NamedTuple):
    """A day, and the emails that are due on it, in the order of their times."""

    date: date
    emails: Sequence[EmailSummary]


class CountedDay(NamedTuple):
    """A day, and how many scheduled emails are due on it."""

    date: date
    emails: int


def next_weeks(database: Database, zone: ZoneInfo, today: date) -> list[list[CountedDay]]:
    """Return the current week and those after it, with the number of scheduled emails."""
    days = _days_of_weeks(today, today + timedelta(weeks=NEXT_WEEKS - 1))
    times = database.emails.due_times(_key_before(days[0], zone), MAX_NEXT, "scheduled")
    by_day = Counter(due_at.astimezone(zone).date() for due_at in times)
    return _in_weeks([CountedDay(day, by_day[day]) for day in days])


def month(database: Database, zone: ZoneInfo, first: date) -> list[list[CalendarDay]]:
    """Return the weeks of the month that begins on `first`, with all its emails."""
    days = _days_of_weeks(first, next_month(first) - timedelta(days=1))
    emails = database.emails.page(_key_before(days[0], zone), MAX_MONTH)
    by_day = {day: list(some) for day, some in groupby(emails, lambda email: email.due_at.astimezone(zone).date())}
    return _in_weeks([CalendarDay(day, by_day.get(day, [])) for day in days])


def next_month(first: date) -> date:
    """Return the first day of the following month."""
    return (first + timedelta(days=31)).replace(day=1)


def _days_of_weeks(first: date, last: date) -> list[date]:
    """Return the days of whole weeks, from Monday to Sunday, that contain both days."""
    start = first - timedelta(days=first.weekday())
    end = last + timedelta(days=WEEK - last.weekday())
    return [start + timedelta(days=each) for each in range((end - start).days)]


def _key_before(day: date, zone: ZoneInfo) -> tuple[datetime, int]:
    """Return a key before all emails of this day."""
    return datetime.combine(day, time(), zone) - timedelta(seconds=1), LARGEST


def _in_weeks(days: list[Day]) -> list[list[Day]]:
    return [days[place : place + WEEK] for place in range(0, len(days), WEEK)]
