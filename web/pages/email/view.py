"""The page of an email."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from flask import Response, request, url_for

from database import (
    DELIVERY_STATUSES,
    Attempt,
    AudienceCount,
    Database,
    DeliveryPage,
    Email,
    EmailSummary,
    Reason,
    Standings,
    Survey,
)
from intake.errors import BadTimestamp, RepeatedTime
from intake.fields import Fields, choice, number
from monitoring.delivery_health import is_overdue
from operations import count_recipients, get_email, get_summary, why_blocked
from sender.preview import survey_recipients
from web.pages import etag
from web.pages.audience_words import audience_words
from web.pages.email import wording
from web.pages.email.content import READINGS, ShownContent, read_content
from web.pages.email.pace import Sending, pace, read_sending, time_left
from web.pages.email.reasons import explain
from web.pages.filters import full_name, offset
from web.pages.undo import UNDO_SECONDS
from web.services import current_settings, in_database

PAGE_SIZE = 50  # deliveries
REFRESH_WINDOW = timedelta(minutes=1)  # before it is due, the page starts refreshing
MAX_REASON_ROWS = 2_000  # deliveries that are examined for the reasons
PREVIEW_WIDTHS = (("wide", "600 px", "monitor"), ("phone", "375 px", "phone"))


class PageQuery(NamedTuple):
    """Which deliveries the page of an email shows, and how it shows the content.

    `shown_to` is the address of the recipient whose values fill in the personal fields.
    """

    event_id: int
    status: str | None = None
    after: int = 0
    reading: str | None = None
    shown_to: str = ""

    def address(self, **changes: object) -> str:
        """Return the URL of this page with these arguments changed."""
        values = self._replace(**changes)  # type: ignore[arg-type]
        arguments = {
            "status": values.status,
            "after": values.after or None,
            "content": values.reading,
            "shown_to": values.shown_to or None,
        }
        return url_for("pages.email.show", event_id=values.event_id, **arguments)  # type: ignore[arg-type]


class EmailData(NamedTuple):
    """The data of the page."""

    email: Email
    summary: EmailSummary
    now: AudienceCount | None  # of recipients now, None once the email has started
    page: DeliveryPage
    names: dict[int, str]  # of the recipients on the page, if they have one
    attempts: dict[int, list[Attempt]]
    reasons: list[Reason]
    standings: Standings
    survey: Survey | None  # who lacks a value, if it has personal fields and has not started
    content: ShownContent
    sending: Sending | None  # the progress, while it is being sent


def read_query(event_id: int) -> PageQuery:
    """Parse the arguments of this request. Raises InvalidFields."""
    known = ("status", "after", "content")
    fields = Fields({name: request.args[name] for name in known if name in request.args}, known)
    status = fields.take_or("status", choice(*DELIVERY_STATUSES), None)
    after = fields.take_or("after", number, 0)
    reading = fields.take_or("content", choice(*READINGS), None)
    fields.check()
    return PageQuery(event_id, status.value, after.value, reading.value, request.args.get("shown_to", "").strip())


def email_page(
    query: PageQuery, typed: str = "", wrong: BadTimestamp | None = None, past: datetime | None = None
) -> Response:
    """Render the page.

    `typed` is what was entered as its new time, and `wrong` says why that was not accepted. `past` is that time if it
    has passed: the page then asks whether the email should go out now.
    """
    data = in_database(lambda database: load(database, query))
    ahead = data.summary.due_at - datetime.now(UTC)
    is_due = ahead < timedelta()
    overdue = is_overdue(data.summary, datetime.now(UTC))
    refreshes = data.summary.status == "sending" or (data.summary.status == "scheduled" and ahead < REFRESH_WINDOW)
    return etag.page(
        "email.html",
        (data, query, is_due, overdue, refreshes, typed, str(wrong), past),
        query=query,
        is_due=is_due,
        overdue=overdue,
        refreshes=refreshes,
        **data._asdict(),
        widths=PREVIEW_WIDTHS,
        pace=pace(data.sending) if data.sending else "",
        expected_at=_expected_at(data.sending),
        lateness=wording.lateness_words(data.summary),
        words=wording,
        audience=audience_words(data.email.audience),
        explain=explain,
        settings=current_settings(),
        why_blocked=why_blocked,
        typed=typed,
        wrong=wrong,
        past=past,
        undo=request.args.get("undo", "") if _can_undo(data.summary, ahead) else "",
        undo_seconds=UNDO_SECONDS,
        past_offset=offset(past.astimezone(current_settings().timezone)) if past else "",
        not_started=not_started(data.summary),
        clocks=_clocks(data.summary, wrong),
    )


def _can_undo(summary: EmailSummary, ahead: timedelta) -> bool:
    """Return whether the email may be one that was sent now from a page."""
    return not_started(summary) and timedelta() <= ahead <= timedelta(seconds=UNDO_SECONDS + 1)


def not_started(summary: EmailSummary) -> bool:
    """Return whether the email has not started, so that its due time can still be changed."""
    return summary.status == "scheduled" or (summary.status == "held" and summary.started_at is None)


def load(database: Database, query: PageQuery) -> EmailData:
    """Read the data of the page. Raises NoSuchEmail."""
    email, summary = get_email(database, query.event_id), get_summary(database, query.event_id)
    deliveries = database.deliveries
    page = deliveries.page(query.event_id, query.after, PAGE_SIZE, query.status)
    tried = [row.recipient_id for row in page.rows if row.attempts]
    attempts = deliveries.attempts_of_each(query.event_id, tried)
    reasons = deliveries.reasons(query.event_id, MAX_REASON_ROWS) if summary.failed or summary.unknown else []
    may_retry = summary.status in ("sending", "sent") and (summary.failed or summary.unknown)
    standings = deliveries.standings(query.event_id, limit=MAX_REASON_ROWS) if may_retry else Standings({})
    recipients = count_recipients(database, summary)
    survey = survey_recipients(database, email) if not_started(summary) else None
    names = database.personal_fields.of([row.recipient_id for row in page.rows])
    return EmailData(
        email=email,
        summary=summary,
        now=recipients,
        page=page,
        names={recipient_id: full_name(fields) for recipient_id, fields in names.items()},
        attempts=attempts,
        reasons=reasons,
        standings=standings,
        survey=survey,
        content=read_content(database, email, query.reading, query.shown_to, survey),
        sending=read_sending(database, summary, datetime.now(UTC)) if summary.status == "sending" else None,
    )


class Clocks(NamedTuple):
    """The data of the field for a time: the zone, its current offset from UTC, and the email's local due time.

    If a local time occurs twice, `readings` are the two instants with their offsets.
    """

    zone: str
    offset: str
    due: str
    readings: list[tuple[str, datetime]]


def _clocks(summary: EmailSummary, wrong: BadTimestamp | None) -> Clocks:
    settings = current_settings()
    zone = settings.timezone
    due = summary.due_at.astimezone(zone).replace(tzinfo=None).isoformat(timespec="seconds")
    readings = wrong.readings if isinstance(wrong, RepeatedTime) else ()
    offsets = [(offset(reading.astimezone(zone)), reading) for reading in readings]
    return Clocks(settings.zone_name, offset(datetime.now(zone)), due, offsets)


def _expected_at(sending: Sending | None) -> datetime | None:
    """Return when an email that is being sent will be finished, if that can be estimated."""
    left = time_left(sending) if sending else None
    return None if left is None else datetime.now(UTC) + left
