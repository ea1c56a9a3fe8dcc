"""Weeks of emails: the month of the calendar, and the next weeks beside the schedule."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, time, timedelta
from itertools import groupby
from typing import NamedTuple
from zoneinfo import ZoneInfo

from database import Database, EmailSummary
from web.pages.schedule.email_filter import LARGEST

WEEK = 7
NEXT_WEEKS = 5
MAX_NEXT, MAX_MONTH = 300, 500  # emails that are read


class CalendarDay(NamedTuple):
    """A day, and the emails that are due on it, in the order of their times."""

    date: date
    emails: Sequence[EmailSummary]


def next_weeks(database: Database, zone: ZoneInfo, today: date) -> list[list[CalendarDay]]:
    """Return the current week and those after it, with the scheduled emails."""
    return _weeks(database, zone, today, today + timedelta(weeks=NEXT_WEEKS - 1), "scheduled", MAX_NEXT)


def month(database: Database, zone: ZoneInfo, first: date) -> list[list[CalendarDay]]:
    """Return the weeks of the month that begins on `first`, with all its emails."""
    return _weeks(database, zone, first, next_month(first) - timedelta(days=1), None, MAX_MONTH)


def next_month(first: date) -> date:
    """Return the first day of the following month."""
    return (first + timedelta(days=31)).replace(day=1)


def _weeks(
    database: Database, zone: ZoneInfo, first: date, last: date, status: str | None, limit: int
) -> list[list[CalendarDay]]:
    """Return whole weeks, from Monday to Sunday, that contain both days."""
    start = first - timedelta(days=first.weekday())
    end = last + timedelta(days=WEEK - last.weekday())
    before = datetime.combine(start, time(), zone) - timedelta(seconds=1)
    emails = database.emails.page((before, LARGEST), limit, status)
    by_day = {day: list(some) for day, some in groupby(emails, lambda email: email.due_at.astimezone(zone).date())}
    days = [start + timedelta(days=each) for each in range((end - start).days)]
    shown = [CalendarDay(day, by_day.get(day, [])) for day in days]
    return [shown[place : place + WEEK] for place in range(0, len(shown), WEEK)]
