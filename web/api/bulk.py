"""POST /api/emails: up to a thousand emails in one transaction, with a result for each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from flask import Blueprint, Response, request

import operations
from database import DBError, Email, UnusableList
from intake.email_options import JSON_NAMES, invalid_list
from intake.fields import InvalidFields, invalid
from settings import Settings
from web.api import serializers
from web.api.email_fields import clean_email
from web.api.json_body import JSON, JSON_LINES, read_json, read_lines
from web.problem_details import json_response
from web.services import current_settings, perform

MAX_EMAILS = 1_000
RESULTS = ("saved", "identical", "different", "invalid")
blueprint = Blueprint("bulk", __name__)


@blueprint.post("/emails")
def save_emails() -> Response:
    """Save the valid, new emails in one transaction, and return a result for each email of the request."""
    settings = current_settings()
    emails = [_email_or_error(value, settings) for value in _values()]
    results = list(_results(emails, settings.timezone))
    counts = Counter(str(result["result"]) for result in results)
    return json_response({**{name: counts[name] for name in RESULTS}, "results": results})


def _values() -> Sequence[object]:
    limit = current_settings().max_body
    if request.mimetype in JSON_LINES:
        return read_lines(request, limit, MAX_EMAILS)
    values = read_json(request, limit, JSON, *JSON_LINES)
    if not isinstance(values, list):
        raise invalid("body", "must be a list of emails; PUT a single email to /api/emails/EVENT_ID")
    if len(values) > MAX_EMAILS:
        raise invalid("body", f"contains more than {MAX_EMAILS:,} emails")
    return values


def _email_or_error(value: object, settings: Settings) -> Email | InvalidFields:
    if isinstance(value, InvalidFields):
        return value
    try:
        return clean_email(value, settings)
    except InvalidFields as error:
        return error


def _save(emails: Sequence[Email]) -> Iterator[str | InvalidFields]:
    results = perform(operations.save_emails, emails, datetime.now(UTC)) if emails else []
    for email, result in zip(emails, results, strict=True):
        if isinstance(result, UnusableList):
            yield InvalidFields([invalid_list(email, result, JSON_NAMES)])
        elif isinstance(result, DBError):
            raise result
        else:
            yield result


def _results(emails: Sequence[Email | InvalidFields], zone: ZoneInfo) -> Iterator[serializers.Document]:
    """Save the valid emails, and yield the result for each email of the request."""
    outcomes = _save([each for each in emails if isinstance(each, Email)])
    for each in emails:
        if isinstance(each, InvalidFields):
            yield _invalid(each)
            continue
        outcome = next(outcomes)
        if isinstance(outcome, InvalidFields):
            yield _invalid(outcome)
        else:
            yield {"result": outcome, "event_id": each.event_id, **serializers.due(each.due_at, zone)}


def _invalid(error: InvalidFields) -> serializers.Document:
    return {"result": "invalid", "errors": error.as_json()}
