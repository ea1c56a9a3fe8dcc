"""What the API answers with: the JSON object of each noun. Times are RFC 3339 in UTC."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from database import Attempt, DeliveryRow, EmailSummary, HistoryRow, Reason, Recipient

Document = dict[str, object]


def utc(instant: datetime | None) -> str | None:
    """The instant, in UTC, to the second."""
    return None if instant is None else f"{instant.astimezone(UTC).isoformat()[:19]}Z"


def due(instant: datetime, zone: ZoneInfo) -> Document:
    """The instant that was understood, in UTC and on the clocks of the service."""
    in_utc, local = _due(instant, zone)
    return {"due_at": in_utc, "due_at_local": local}


@lru_cache(maxsize=1024)  # of a thousand emails in a list, most are due at a few times
def _due(instant: datetime, zone: ZoneInfo) -> tuple[str | None, str]:
    return utc(instant), _local(instant, zone)


def email(each: EmailSummary, zone: ZoneInfo) -> Document:
    """An email as a list shows it: without its content."""
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
    }


def counts(each: EmailSummary) -> Document:
    """How many deliveries there are so far, and what became of them."""
    final = {"sent": each.sent, "failed": each.failed, "unknown": each.unknown, "cancelled": each.cancelled}
    return {"total": each.deliveries, "unfinished": each.deliveries - sum(final.values()), **final}


def lateness(each: EmailSummary) -> Document | None:
    """Seconds from the due time to the first and the last acceptance by a server."""
    if each.lateness is None:
        return None
    first, last = each.lateness
    return {"first_seconds": first, "last_seconds": last}


def failures(reasons: Sequence[Reason], each: EmailSummary) -> Document:
    """Why deliveries failed or are unknown; of very many only the first are looked at."""
    complete = sum(reason.count for reason in reasons) >= each.failed + each.unknown
    return {"failures": [reason._asdict() for reason in reasons], "failures_complete": complete}


def delivery(row: DeliveryRow) -> Document:
    """One email to one recipient."""
    return {
        **row._asdict(),
        "next_attempt_at": utc(row.next_attempt_at) if row.finished_at is None else None,
        "finished_at": utc(row.finished_at),
    }


def history(row: HistoryRow) -> Document:
    """One email as one recipient got it, or did not."""
    about = {"event_id": row.event_id, "subject": row.subject, "due_at": utc(row.due_at)}
    return {**about, **delivery(row.delivery)}


def attempt(each: Attempt) -> Document:
    """A try that did not succeed."""
    return {**each._asdict(), "at": utc(each.at)}


def recipient(each: Recipient) -> Document:
    """One address that receives every email while it is active."""
    return {**each._asdict(), "created_at": utc(each.created_at)}


def _local(instant: datetime, zone: ZoneInfo) -> str:
    try:
        local = instant.astimezone(zone)
    except OverflowError:  # in the first or last hours of the calendar
        local = instant
    if (local.utcoffset() or timedelta()).seconds % 60:  # of before there were zones: RFC 3339 has no such offset
        local = instant
    return local.isoformat()
