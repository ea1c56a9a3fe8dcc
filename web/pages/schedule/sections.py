"""The sections of the unfiltered schedule: needs attention, sending now, next, sent."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import groupby
from typing import NamedTuple
from zoneinfo import ZoneInfo

from database import Audience, Database, EmailSummary, Standings
from monitoring.delivery_health import OVERDUE_AFTER, check_delivery_health, is_overdue
from monitoring.finding import Finding
from settings import Settings
from web.pages.email.pace import Sending, read_sending
from web.pages.schedule.calendar import CountedDay, next_weeks
from web.pages.schedule.email_filter import LARGEST

SECTION_SIZE, SENT_SECTION_SIZE = 10, 10  # emails, so that the page stays small
MAX_COUNTED_DRAFTS = 100
MAX_COUNTED_DELIVERIES = 2_000  # of each email with failures, for the number that can be retried
ATTENTION_PERIOD = timedelta(days=7)  # an email that finished earlier no longer needs attention
REFRESH_WINDOW = timedelta(minutes=1)
WEEK = timedelta(days=7)


class Week(NamedTuple):
    """The outcomes of the last seven days."""

    sent: int
    failed: int


class Sections(NamedTuple):
    """The data of the schedule: the first emails of each section."""

    checks: list[Finding]
    emails: dict[str, int]  # number of emails by status
    recipients: dict[str, int]
    today: date
    overdue: list[EmailSummary]
    held: list[EmailSummary]
    failures: list[EmailSummary]
    standings: dict[int, Standings]  # of the recipients of failed deliveries, for `failures` by event_id
    sending: list[Sending]
    next: list[tuple[date, list[EmailSummary]]]  # by day in the service's zone
    audiences: dict[int, Audience]  # of the emails in `next` and `sent`, by event_id
    people: dict[int, int]  # how many recipients the emails in `next` have now, if that is known at once
    weeks: list[list[CountedDay]]
    week: Week
    sent: list[EmailSummary]
    drafts: int  # at most MAX_COUNTED_DRAFTS
    refreshes: bool  # something is being sent, or is due within a minute

    @property
    def shown(self) -> object:
        """The part that belongs in the ETag of the page: without the age of the last check, unless it is a problem."""
        checks = [(check.subject, check.is_ok, "" if check.is_ok else check.remedy) for check in self.checks]
        return self._replace(checks=[]), checks


def load_sections(database: Database, settings: Settings, now: datetime) -> Sections:
    """Read all sections in the order of an email's life, so that an email that changes meanwhile is not missed."""
    emails = database.emails
    checks = list(check_delivery_health(database, settings.scheduler, now))
    first_due = emails.page(None, SECTION_SIZE, "scheduled")
    overdue = [email for email in first_due if is_overdue(email, now)]
    coming = _coming(database, first_due, now)
    held = emails.page(None, SECTION_SIZE, "held", newest_first=True)
    sending = [read_sending(database, email, now) for email in emails.page(None, SECTION_SIZE, "sending")]
    sent = emails.page(None, SENT_SECTION_SIZE, "sent", newest_first=True)
    failures = [email for email in emails.page_with_failures(None, SECTION_SIZE) if _needs_someone(email, now)]
    audiences = {email.event_id: database.audiences.get(email.event_id, email.audience) for email in coming}
    audiences |= _names(database, sent)
    hours = database.health.hours(now - WEEK)
    return Sections(
        checks=checks,
        emails=emails.counts(),
        recipients=database.recipients.counts(),
        today=now.astimezone(settings.timezone).date(),
        overdue=overdue,
        held=held,
        failures=failures,
        standings=_standings(database, failures),
        sending=sending,
        next=_by_day(coming, settings.timezone),
        audiences=audiences,
        people=_people(database, coming, audiences),
        weeks=next_weeks(database, settings.timezone, now.astimezone(settings.timezone).date()),
        week=Week(sum(hour.sent for hour in hours), sum(hour.failed for hour in hours)),
        sent=sent,
        drafts=database.drafts.count(MAX_COUNTED_DRAFTS),
        refreshes=bool(sending) or any(email.due_at <= now + REFRESH_WINDOW for email in coming[:1]),
    )


def _coming(database: Database, first_due: list[EmailSummary], now: datetime) -> list[EmailSummary]:
    """Return the next emails that are not overdue, even if more overdue ones than a page holds come before them.

    `first_due` is the first page of scheduled emails. Some of them may have been due long ago, but saved just now.
    """
    late = now - OVERDUE_AFTER
    just_saved = [email for email in first_due if email.due_at <= late and not is_overdue(email, now)]
    return (just_saved + database.emails.page((late, LARGEST), SECTION_SIZE, "scheduled"))[:SECTION_SIZE]


def _names(database: Database, emails: list[EmailSummary]) -> dict[int, Audience]:
    """Return the lists of emails by event_id. Those to named addresses are left out."""
    known = [email for email in emails if email.audience != "named"]
    names = database.audiences.names_of_each([email.event_id for email in known])
    return {email.event_id: audience for email, audience in zip(known, names, strict=True)}


def _people(database: Database, emails: list[EmailSummary], audiences: dict[int, Audience]) -> dict[int, int]:
    """Return how many recipients emails have now. Several lists are left out, because all members would be read."""
    people, counted = {}, dict[tuple[str, ...], int]()
    for email in emails:
        audience = audiences[email.event_id]
        if audience.exclude_lists or len(audience.lists) > 1:
            continue
        if audience.to:
            people[email.event_id] = len(audience.to)
            continue
        if audience.lists not in counted:
            counted[audience.lists] = database.audiences.count_of(email.event_id, email.audience).recipients
        people[email.event_id] = counted[audience.lists]
    return people


def _standings(database: Database, emails: list[EmailSummary]) -> dict[int, Standings]:
    """Return, by event_id, how many failed deliveries can be retried."""
    return {
        email.event_id: database.deliveries.standings(email.event_id, limit=MAX_COUNTED_DELIVERIES)
        for email in emails
        if email.failed
    }


def _by_day(emails: list[EmailSummary], zone: ZoneInfo) -> list[tuple[date, list[EmailSummary]]]:
    return [(day, list(some)) for day, some in groupby(emails, lambda email: email.due_at.astimezone(zone).date())]


def _needs_someone(email: EmailSummary, now: datetime) -> bool:
    """Return whether it finished recently, so that someone may still retry or resolve its deliveries."""
    return email.status == "sent" and email.finished_at is not None and now - email.finished_at <= ATTENTION_PERIOD
