"""POST /api/emails: up to a thousand emails in one transaction, with a result for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, request

from database import Email, SaveResult
from intake.fields import InvalidFields, invalid
from web.api import serializers
from web.api.email_fields import clean_email
from web.api.json_body import JSON, JSON_LINES, read_json, read_lines
from web.problem_details import json_response
from web.services import current_settings, in_database, wake_at

MOST = 1_000
RESULTS = ("saved", "identical", "different", "invalid")
blueprint = Blueprint("bulk", __name__)


@blueprint.post("/emails")
def save_emails() -> Response:
    """Save those that are valid and new, all of them or, if the database fails, none; say of each what became of it."""
    zone = current_settings().timezone
    emails = [_email_or_error(value, zone) for value in _values()]
    outcomes = iter(_save([each for each in emails if isinstance(each, Email)]))
    results = [_result(each, zone, next(outcomes) if isinstance(each, Email) else "invalid") for each in emails]
    counts = Counter(str(result["result"]) for result in results)
    return json_response({**{name: counts[name] for name in RESULTS}, "results": results})


def _values() -> Sequence[object]:
    limit = current_settings().max_body
    if request.mimetype in JSON_LINES:
        return read_lines(request, limit, MOST)
    values = read_json(request, limit, JSON, *JSON_LINES)
    if not isinstance(values, list):
        raise invalid("body", "is not a list of emails; a single one can be PUT to /api/emails/EVENT_ID")
    if len(values) > MOST:
        raise invalid("body", f"has more than {MOST:,} emails")
    return values


def _email_or_error(value: object, zone: ZoneInfo) -> Email | InvalidFields:
    if isinstance(value, InvalidFields):
        return value
    try:
        return clean_email(value, zone)
    except InvalidFields as error:
        return error


def _save(emails: Sequence[Email]) -> Sequence[str]:
    now = datetime.now(UTC)
    outcomes = in_database(lambda database: database.emails.save_many(emails, now)) if emails else []
    for due_at in sorted(
        {email.due_at for email, outcome in zip(emails, outcomes, strict=True) if outcome is SaveResult.SAVED}
    ):
        wake_at(due_at)
    return outcomes


def _result(each: Email | InvalidFields, zone: ZoneInfo, outcome: str) -> serializers.Document:
    if isinstance(each, InvalidFields):
        return {"result": outcome, "errors": each.as_json()}
    return {"result": outcome, "event_id": each.event_id, **serializers.due(each.due_at, zone)}
