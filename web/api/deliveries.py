"""/api/emails/…/deliveries: the deliveries of an email, one per recipient."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial

from flask import Blueprint, Response, request

import operations
from database import DELIVERY_STATUSES, Database, DeliveryPage, DeliveryRow
from intake.email_fields import clean_event_id
from intake.fields import Fields, choice, number, recipient_number
from intake.recipients_csv.format import ADDRESS_COLUMN, encode_pages
from operations import get_summary
from web.api import serializers
from web.api.error_handlers import NotThere
from web.api.json_body import read_json
from web.api.params import (
    DEFAULT_PAGE_SIZE,
    MAX_PAGE_SIZE,
    answer_format,
    csv_response,
    limit,
    page_response,
    query_fields,
)
from web.problem_details import json_response
from web.services import current_settings, in_database, perform

COLUMNS = (ADDRESS_COLUMN, "status", "attempts", "next_attempt_at", "finished_at", "reply")
blueprint = Blueprint("deliveries", __name__)


@blueprint.get("/emails/<event_id>/deliveries")
def list_deliveries(event_id: str) -> Response:
    """Return a page of an email's deliveries, or all of them as CSV."""
    email = clean_event_id(event_id)
    fields = query_fields(request, "status", "limit", "after", "format")
    status = fields.take_or("status", choice(*DELIVERY_STATUSES), None)
    size = fields.take_or("limit", limit, DEFAULT_PAGE_SIZE)
    after = fields.take_or("after", number, 0)
    wanted = answer_format(fields)
    fields.check()
    as_csv = wanted.value == "csv"
    rows_read = MAX_PAGE_SIZE if as_csv else size.value
    page = in_database(lambda database: _page(database, email, after.value, rows_read, status.value))
    if as_csv:
        pages = (map(_cells, rows) for rows in _pages(page, email, status.value))
        return csv_response(encode_pages(COLUMNS, pages), f"deliveries-{email}")
    return page_response("deliveries", [serializers.delivery(row) for row in page.rows], page.next_after)


@blueprint.get("/emails/<event_id>/deliveries/<recipient_id>")
def show_delivery(event_id: str, recipient_id: str) -> Response:
    """Return a delivery and its failed attempts."""
    query_fields(request).check()
    key = clean_event_id(event_id), recipient_number(recipient_id)
    return json_response(in_database(lambda database: _whole(database, *key)))


@blueprint.post("/emails/<event_id>/deliveries/<recipient_id>/decide")
def decide_delivery(event_id: str, recipient_id: str) -> Response:
    """Record whether an unknown delivery was sent."""
    key = clean_event_id(event_id), recipient_number(recipient_id)
    fields = Fields(read_json(request, current_settings().max_body), ("status",))
    status = fields.take("status", choice("sent", "failed"))
    fields.check()
    perform(operations.decide_delivery, *key, status.value, datetime.now(UTC))
    return json_response(in_database(lambda database: _whole(database, *key)))


def _page(database: Database, event_id: int, after: int, size: int, status: str | None) -> DeliveryPage:
    get_summary(database, event_id)  # raises NoSuchEmail
    return database.deliveries.page(event_id, after=after, limit=size, status=status)


def _whole(database: Database, event_id: int, recipient_id: int) -> serializers.Document:
    rows = _page(database, event_id, max(recipient_id, 1) - 1, 1, None).rows
    if not rows or rows[0].recipient_id != recipient_id:
        raise NotThere(f"email {event_id} has no delivery to recipient {recipient_id}")
    attempts = database.deliveries.attempts(event_id, recipient_id)
    return {**serializers.delivery(rows[0]), "unsuccessful_attempts": [serializers.attempt(each) for each in attempts]}


def _pages(page: DeliveryPage, event_id: int, status: str | None) -> Iterator[list[DeliveryRow]]:
    """Yield the rows of this page and of all following pages."""
    yield page.rows
    while (after := page.next_after) is not None:
        page = in_database(partial(_page, event_id=event_id, after=after, size=MAX_PAGE_SIZE, status=status))
        yield page.rows


def _cells(row: DeliveryRow) -> list[str]:
    document = serializers.delivery(row) | {ADDRESS_COLUMN: row.address}
    return ["" if document[name] is None else str(document[name]) for name in COLUMNS]
