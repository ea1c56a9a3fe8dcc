"""The JSON objects of the API. Times are RFC 3339 in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from database import (
    Attempt,
    Audience,
    AudienceCount,
    DeliveryRow,
    EmailSummary,
    HistoryRow,
    List,
    Member,
    Reason,
    Recipient,
)
from intake.email_options import AUDIENCE_WORDS

Document = dict[str, object]


def utc(instant: datetime | None) -> str | None:
    """Return the time in UTC, to the second."""
    return None if instant is None else f"{instant.astimezone(UTC).isoformat()[:19]}Z"


def due(instant: datetime, zone: ZoneInfo) -> Document:
    """Return the due time in UTC and in the service's time zone."""
    in_utc, local = _due(instant, zone)
    return {"due_at": in_utc, "due_at_local": local}


@lru_cache(maxsize=1024)  # a thousand emails in a list usually share a few times
def _due(instant: datetime, zone: ZoneInfo) -> tuple[str | None, str]:
    return utc(instant), _local(instant, zone)


def email(each: EmailSummary, zone: ZoneInfo, audience: Audience) -> Document:
    """Return an email without its content, and without the addresses that it names."""
    return {
        "event_id": each.event_id,
        "subject": each.subject,
        **due(each.due_at, zone),
        "status": each.status,
        "held_because": each.held_because,
        "created_at": utc(each.created_at),
        "finished_at": utc(each.finished_at),
        "deliveries": counts(each),
        "first_sent_at": utc(each.first_sent_at),
        "last_sent_at": utc(each.last_sent_at),
        "lateness": lateness(each),
        "audience": AUDIENCE_WORDS[each.audience],
        "lists": audience.lists,
        "exclude_lists": audience.exclude_lists,
        "recipients_max": each.recipients_max,
        "reply_to": each.reply_to,
        "from_name": each.from_name,
        "personal": each.personal,
    }


def recipient_counts(count: AudienceCount | None) -> Document | None:
    """Return how many recipients an email has now, and how many are left out."""
    if count is None:
        return None
    return {"active": count.recipients, "unsubscribed": count.unsubscribed, "rejected": count.rejected}


def counts(each: EmailSummary) -> Document:
    """Return the number of deliveries created so far, by outcome."""
    final = {"sent": each.sent, "failed": each.failed, "unknown": each.unknown, "cancelled": each.cancelled}
    return {"total": each.deliveries, "unfinished": each.deliveries - sum(final.values()), **final}


def lateness(each: EmailSummary) -> Document | None:
    """Return the seconds from the due time to the first and the last acceptance by the mail server."""
    if each.lateness is None:
        return None
    first, last = each.lateness
    return {"first_seconds": first, "last_seconds": last}


def failures(reasons: Sequence[Reason], each: EmailSummary) -> Document:
    """Return the reasons for failed and unknown deliveries. `reasons` may cover only the first of very many."""
    complete = sum(reason.count for reason in reasons) >= each.failed + each.unknown
    return {"failures": [reason._asdict() for reason in reasons], "failures_complete": complete}


def delivery(row: DeliveryRow) -> Document:
    return {
        **row._asdict(),
        "next_attempt_at": utc(row.next_attempt_at) if row.finished_at is None else None,
        "finished_at": utc(row.finished_at),
    }


def history(row: HistoryRow) -> Document:
    """Return a delivery of a recipient's history, with its email."""
    about = {"event_id": row.event_id, "subject": row.subject, "due_at": utc(row.due_at)}
    return {**about, **delivery(row.delivery)}


def attempt(each: Attempt) -> Document:
    return {**each._asdict(), "at": utc(each.at)}


def recipient(each: Recipient, lists: Sequence[str]) -> Document:
    """Return a recipient. `lists` are the names of the lists that they are in."""
    return {
        "recipient_id": each.recipient_id,
        "address": each.address,
        "status": each.status,
        "created_at": utc(each.created_at),
        "fields": each.fields,
        "lists": lists,
    }


def list_(each: List) -> Document:
    return {**each._asdict(), "created_at": utc(each.created_at), "archived_at": utc(each.archived_at)}


def member(each: Member) -> Document:
    """Return a recipient as a member of a list, or as someone who left it."""
    recipient = each.recipient
    return {
        "recipient_id": recipient.recipient_id,
        "address": recipient.address,
        "status": recipient.status,
        "joined_at": utc(each.joined_at),
        "left_at": utc(each.left_at),
        "added_by": each.added_by,
    }


def _local(instant: datetime, zone: ZoneInfo) -> str:
    try:
        local = instant.astimezone(zone)
    except OverflowError:  # within hours of the first or last possible date
        local = instant
    if (
        local.utcoffset() or timedelta()
    ).seconds % 60:  # an offset with seconds, from before time zones; RFC 3339 cannot express it
        local = instant
    return local.isoformat()
