"""/api/emails/…: list, show, save, cancel, release and retry emails."""

from __future__ import annotations

from datetime import UTC, datetime

from flask import Blueprint, Response, request
from werkzeug.exceptions import Conflict

import operations
from database import EMAIL_STATUSES, RETRYABLE_STATUSES, Database, Email, EmailSummary, ReplaceResult
from delivery.errors import MessageError
from intake.email_fields import clean_event_id
from intake.fields import Fields, choice, number, text
from operations import get_email, get_summary
from sender.preview import preview, survey_recipients
from web.api import serializers
from web.api.email_fields import clean_addressed_email
from web.api.json_body import read_json, read_optional_json
from web.api.params import DEFAULT_PAGE_SIZE, cursor_of, email_cursor, limit, page_response, query_fields
from web.api.recipients import find_recipient
from web.errors import CONTENT_PRUNED
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


@blueprint.get("/emails/<event_id>/preview")
def preview_email(event_id: str) -> Response:
    """Return what a recipient will see; without a recipient, placeholders stay visible."""
    recipient = query_fields(request, "recipient")
    who = recipient.take_or("recipient", text(str), None)
    recipient.check()
    return json_response(in_database(lambda database: _preview(database, clean_event_id(event_id), who.value)))


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


def _preview(database: Database, event_id: int, who: str | None) -> serializers.Document:
    if get_email(database, event_id).content_digest is not None:
        raise Conflict(CONTENT_PRUNED)
    recipient = None if who is None else find_recipient(database, who)
    fields = database.personal_fields.of([recipient.recipient_id]) if recipient else {}
    values = fields.get(recipient.recipient_id, {}) if recipient else {}
    try:
        shown = preview(current_settings(), database, event_id, database.emails.text_to_send(event_id), values)
    except MessageError as error:
        raise Conflict(f"this email cannot be sent: {error}") from error
    return serializers.preview(event_id, recipient, shown)


def _whole(database: Database, event_id: int) -> serializers.Document:
    email, summary = get_email(database, event_id), get_summary(database, event_id)
    reasons = database.deliveries.reasons(event_id) if summary.failed or summary.unknown else []
    return {
        **serializers.email(summary, current_settings().timezone),
        **serializers.failures(reasons, summary),
        "recipients_without_value": _without_value(database, email, summary),
        "content": email.content,
    }


def _without_value(database: Database, email: Email, summary: EmailSummary) -> serializers.Document | None:
    """Return how many recipients lack a value; None if the email has no personal fields, or has been started."""
    survey = survey_recipients(database, email) if email.personal and not summary.deliveries else None
    return None if survey is None else {"count": survey.missing, "at_least": survey.is_partial}


def _shown(event_id: int, status: int = 200, **more: object) -> Response:
    """Return the email after an operation."""
    email = in_database(lambda database: get_summary(database, event_id))
    return json_response({"email": serializers.email(email, current_settings().timezone), **more}, status)
