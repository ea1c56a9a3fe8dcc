"""/: the schedule, in sections or as a filtered list."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, date, datetime, timedelta

from flask import Blueprint, Response, abort, redirect, render_template, request
from werkzeug.wrappers import Response as AnyResponse

from intake.errors import ValidationError
from web.pages import etag
from web.pages.audience_words import audience_name
from web.pages.email import wording
from web.pages.email.pace import pace
from web.pages.schedule import calendar, email_filter
from web.pages.schedule import sections as schedule_sections
from web.pages.schedule.email_filter import Filters
from web.services import current_settings, in_database

FIRST_EMAIL_IN = timedelta(minutes=10)
MAX_IN_DAY = 5  # emails in a day of the calendar
MONTH = re.compile("(19[7-9][0-9]|[2-8][0-9]{3})-(0[1-9]|1[0-2])")
blueprint = Blueprint("schedule", __name__)


@blueprint.get("/")
def show() -> AnyResponse:
    """Show the whole schedule or, with a filter in the query string, a page of one list."""
    filters, errors = email_filter.read(request.args.to_dict())
    if errors:
        return _refused(errors, 400)
    if filters.event_id is not None:
        return _one(filters.event_id)
    return _schedule() if filters == Filters() else _list(filters)


def _schedule() -> Response:
    settings, now = current_settings(), datetime.now(UTC)
    sections = in_database(lambda database: schedule_sections.load_sections(database, settings, now))
    return etag.page(
        "schedule.html" if sum(sections.emails.values()) else "schedule_first.html",
        sections.shown,
        **sections._asdict(),
        now=now,
        tomorrow=sections.today + timedelta(days=1),
        pace=pace,
        curl=_curl(now),
        words=wording,
        audience_name=audience_name,
    )


@blueprint.get("/calendar")
def show_calendar() -> Response:
    """Show a month, by default the current one."""
    zone = current_settings().timezone
    today = datetime.now(zone).date()
    first = _first_day(request.args.get("month", ""), today)
    weeks = in_database(lambda database: calendar.month(database, zone, first))
    return etag.page(
        "calendar.html",
        (first, weeks),
        first=first,
        previous=(first - timedelta(days=1)).replace(day=1),
        following=calendar.next_month(first),
        weeks=weeks,
        today=today,
        count=sum(len(day.emails) for week in weeks for day in week if day.date.month == first.month),
        most_in_day=MAX_IN_DAY,
        words=wording,
    )


def _first_day(text: str, today: date) -> date:
    """Return the first day of the month in the URL, such as 2026-12."""
    if not text:
        return today.replace(day=1)
    match = MONTH.fullmatch(text)
    if match is None:
        abort(400, "month must be YYYY-MM")
    return date(int(match[1]), int(match[2]), 1)


def _list(filters: Filters) -> Response:
    listed, emails = in_database(
        lambda database: (email_filter.load_page(database, filters), database.emails.counts()),
    )
    data = filters, listed, emails
    return etag.page(
        "schedule_list.html", data, filters=filters, listed=listed, emails=emails, words=wording, errors={}
    )


def _one(event_id: int) -> AnyResponse:
    if in_database(lambda database: database.emails.summary(event_id)) is None:
        return _refused([ValidationError("event_id", f"No email has the ID {event_id}")], 404)
    return redirect(f"/emails/{event_id}", 303)


def _refused(errors: list[ValidationError], status: int) -> Response:
    """Show the filter form as it was filled in, with the errors."""
    emails = in_database(lambda database: database.emails.counts())
    messages = {error.field: error.message for error in errors}
    return Response(
        render_template(
            "schedule_list.html", filters=Filters(), listed=None, emails=emails, errors=messages, words=wording
        ),
        status,
    )


def _curl(now: datetime) -> str:
    """Return a curl command that schedules a first email."""
    settings = current_settings()
    url = shlex.quote(f"{request.host_url}send-emails")
    token = ' -H "Authorization: Bearer $API_TOKEN"' if settings.api_tokens else ""
    due_at = (now + FIRST_EMAIL_IN).astimezone(settings.timezone)
    return (
        f"curl {url}{token} -d event_id=1 -d email_subject=Hello \\\n"
        f'  -d "email_content=The first email." -d "timestamp={due_at:%Y-%m-%d %H:%M}:00"'
    )
