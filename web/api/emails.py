"""/api/emails/…: list, show, save, cancel, release and retry emails."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from flask import Blueprint, Response, request

import operations
from database import (
    EMAIL_STATUSES,
    EVERYONE,
    RETRYABLE_STATUSES,
    Audience,
    Database,
    EmailsFound,
    EmailSummary,
    ReplaceResult,
    UnusableList,
)
from intake.email_fields import clean_event_id
from intake.email_options import JSON_NAMES, invalid_list
from intake.fields import Fields, InvalidFields, choice, number, text
from intake.search import clean_subject_search
from operations import get_email, get_summary
from web.api import serializers
from web.api.email_fields import clean_addressed_email
from web.api.json_body import read_json, read_optional_json
from web.api.params import DEFAULT_PAGE_SIZE, cursor_of, email_cursor, limit, page_response, query_fields
from web.api.previews import without_value
from web.problem_details import json_response
from web.services import current_settings, in_database, perform

MAX_RECIPIENTS = 10_000  # listed in one retry
NO_WORDS: Sequence[str] = ()
blueprint = Blueprint("emails", __name__)


@blueprint.get("/emails")
def list_emails() -> Response:
    """Return a page of emails, ordered by due time."""
    fields = query_fields(request, "search", "status", "order", "limit", "after")
    words = fields.take_or("search", text(clean_subject_search), NO_WORDS)
    status = fields.take_or("status", choice(*EMAIL_STATUSES), None)
    order = fields.take_or("order", choice("asc", "desc"), "asc")
    size = fields.take_or("limit", limit, DEFAULT_PAGE_SIZE)
    after = fields.take_or("after", email_cursor, None)
    fields.check()
    newest_first = order.value == "desc"
    found, audiences = in_database(
        lambda database: _page(database, words.value, after.value, size.value, status.value, newest_first)
    )
    zone = current_settings().timezone
    documents = [serializers.email(row, zone, audiences.get(row.event_id, EVERYONE)) for row in found.rows]
    return page_response("emails", documents, cursor_of(*found.next_after) if found.next_after else None)


@blueprint.get("/emails/<event_id>")
def show_email(event_id: str) -> Response:
    """Return an email with its content and the reasons for failures."""
    query_fields(request).check()
    return json_response(in_database(lambda database: _whole(database, clean_event_id(event_id))))


@blueprint.put("/emails/<event_id>")
def put_email(event_id: str) -> Response:
    """Save an email, or replace the one with this event_id if it has not started. Safe to repeat."""
    settings = current_settings()
    number = clean_event_id(event_id)
    email = clean_addressed_email(read_json(request, settings.max_body), settings, number)
    try:
        result = perform(operations.replace_email, email, datetime.now(UTC))
    except UnusableList as error:
        raise InvalidFields([invalid_list(email, error, JSON_NAMES)]) from error
    return _shown(number, 201 if result is ReplaceResult.CREATED else 200, result=result)


@blueprint.post("/emails/<event_id>/cancel")
def cancel_email(event_id: str) -> Response:
    """Cancel an email. The response says how many deliveries were already sent or in flight."""
    number = clean_event_id(event_id)
    cancelled = perform(operations.cancel_email, number, datetime.now(UTC))
    return _shown(number, **cancelled._asdict())


@blueprint.post("/emails/<event_id>/release")
def release_email(event_id: str) -> Response:
    """Release an email that is on hold."""
    number = clean_event_id(event_id)
    perform(operations.release_email, number, datetime.now(UTC))
    return _shown(number)


@blueprint.post("/emails/<event_id>/retry")
def retry_deliveries(event_id: str) -> Response:
    """Retry the failed and unknown deliveries of an email, or those that the body selects."""
    fields = Fields(read_optional_json(request, current_settings().max_body), ("statuses", "recipient_ids"))
    statuses = fields.take_each("statuses", choice(*RETRYABLE_STATUSES), len(RETRYABLE_STATUSES), RETRYABLE_STATUSES)
    ids = fields.take_each("recipient_ids", number, MAX_RECIPIENTS, ())
    fields.check()
    email = clean_event_id(event_id)
    queued = perform(operations.retry_deliveries, email, datetime.now(UTC), statuses.value, ids.value)
    blocked = in_database(
        lambda database: operations.blocked_deliveries(database, email, statuses.value, ids.value),
    )
    return _shown(email, queued=queued, not_queued=blocked)


def _page(
    database: Database,
    words: Sequence[str],
    after: tuple[datetime, int] | None,
    limit: int,
    status: str | None,
    newest_first: bool,
) -> tuple[EmailsFound, dict[int, Audience]]:
    """Return a page of emails, and the lists of those that have any."""
    found = _found(database, words, after, limit, status, newest_first)
    with_lists = [row.event_id for row in found.rows if row.audience in ("lists", "everyone_but")]
    return found, dict(zip(with_lists, database.audiences.names_of_each(with_lists), strict=True))


def _found(
    database: Database,
    words: Sequence[str],
    after: tuple[datetime, int] | None,
    limit: int,
    status: str | None,
    newest_first: bool,
) -> EmailsFound:
    if words:
        return database.emails.search(words, after, limit, status, newest_first)
    rows = database.emails.page(after, limit + 1, status, newest_first)
    cursor = (rows[limit - 1].due_at, rows[limit - 1].event_id) if len(rows) > limit else None
    return EmailsFound(rows[:limit], cursor)


def _whole(database: Database, event_id: int) -> serializers.Document:
    email, summary = get_email(database, event_id), get_summary(database, event_id)
    reasons = database.deliveries.reasons(event_id) if summary.failed or summary.unknown else []
    return {
        **_document(database, summary, email.audience),
        **serializers.failures(reasons, summary),
        "recipients_without_value": without_value(database, email, summary),
        "content": email.content,
    }


def _shown(event_id: int, status: int = 200, **more: object) -> Response:
    """Return the email after an operation."""

    def document(database: Database) -> serializers.Document:
        summary = get_summary(database, event_id)
        return _document(database, summary, database.audiences.get(event_id, summary.audience))

    return json_response({"email": in_database(document), **more}, status)


def _document(database: Database, summary: EmailSummary, audience: Audience) -> serializers.Document:
    """Return an email without its content, but with the number of its recipients."""
    return {
        **serializers.email(summary, current_settings().timezone, audience),
        "to": [address.text for address in audience.to],
        "recipients": serializers.recipient_counts(operations.count_recipients(database, summary)),
    }
