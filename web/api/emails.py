"""/api/emails/…: list, show, save, cancel, release and retry emails."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, request

import operations
from database import EMAIL_STATUSES, RETRYABLE_STATUSES, Database, ReplaceResult
from intake.email_fields import clean_event_id
from intake.fields import Fields, choice, number
from operations import get_email, get_summary
from web.api import serializers
from web.api.email_fields import clean_addressed_email
from web.api.json_body import read_json, read_optional_json
from web.api.params import DEFAULT_PAGE_SIZE, cursor_of, email_cursor, limit, page_response, query_fields
from web.problem_details import json_response
from web.services import current_settings, in_database, perform

MAX_RECIPIENTS = 10_000  # listed in one retry
blueprint = Blueprint("emails", __name__)


@blueprint.get("/emails")
def list_emails() -> Response:
    """Return a page of emails, ordered by due time."""
    fields = query_fields(request, "status", "order", "limit", "after")
    status = fields.take_or("status", choice(*EMAIL_STATUSES), None)
    order = fields.take_or("order", choice("asc", "desc"), "asc")
    size = fields.take_or("limit", limit, DEFAULT_PAGE_SIZE)
    after = fields.take_or("after", email_cursor, None)
    fields.check()
    count = size.value
    rows = in_database(
        lambda database: database.emails.page(after.value, count + 1, status.value, order.value == "desc")
    )
    zone = current_settings().timezone
    cursor = cursor_of(rows[count - 1].due_at, rows[count - 1].event_id) if len(rows) > count else None
    return page_response("emails", [serializers.email(row, zone) for row in rows[:count]], cursor)


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
    result = perform(operations.replace_email, email, datetime.now(UTC))
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


def _whole(database: Database, event_id: int) -> serializers.Document:
    email, summary = get_email(database, event_id), get_summary(database, event_id)
    reasons = database.deliveries.reasons(event_id) if summary.failed or summary.unknown else []
    return {
        **serializers.email(summary, current_settings().timezone),
        **serializers.failures(reasons, summary),
        "content": email.content,
    }


def _shown(event_id: int, status: int = 200, **more: object) -> Response:
    """Return the email after an operation."""
    email = in_database(lambda database: get_summary(database, event_id))
    return json_response({"email": serializers.email(email, current_settings().timezone), **more}, status)
