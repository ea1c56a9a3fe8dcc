"""Import recipients from CSV, completely or not at all, and export them so that an import reads the same rows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request

from database import Database, Recipient
from intake.fields import invalid
from intake.recipients_csv.exported import Exported
from intake.recipients_csv.format import encode_pages
from intake.recipients_csv.reader import ImportFile, InvalidLinesError
from web.api import serializers
from web.api.json_body import CSV, read_whole
from web.api.params import MAX_PAGE_SIZE, csv_response
from web.declared_encoding import UTF_8, DeclaredEncodingError, decode_text
from web.form import request_codec
from web.problem_details import INVALID, json_response, problem
from web.services import current_settings, in_database

MAX_INVALID_LINES = 1_000  # that an error lists
ADDED_BY = "program"
blueprint = Blueprint("recipients_csv", __name__)


@blueprint.post("/recipients/import")
def import_recipients() -> Response:
    """Add the recipients of a CSV file, or none of them if a line is invalid. Existing recipients keep their status."""
    settings = current_settings()
    octets = _as_utf_8(read_whole(request, settings.max_body, CSV), request_codec(request))
    now = datetime.now(UTC)

    def add(database: Database) -> serializers.Document:
        content = ImportFile(
            io.BytesIO(octets),
            MAX_INVALID_LINES,
            single_label=settings.single_label_domains,
            lists=database.lists.ids(),
        )
        added = database.recipients.add(content, now, ADDED_BY)
        counts = {
            "added": added.added,
            "known": added.existing,
            "repeated": content.count - added.added - added.existing,
            "left_out": content.skipped,
        }
        members = {} if content.layout.lists is None else {"joined": added.joined, "left": added.left}
        return {**counts, **members}

    return json_response(in_database(add))


def _as_utf_8(octets: bytes, codec: str | None) -> bytes:
    """Convert a file from the declared charset to UTF-8. If it is UTF-8 already, the reader reports invalid lines."""
    if codec in (None, UTF_8):
        return octets
    try:
        return decode_text(octets, codec).encode()
    except DeclaredEncodingError as error:
        raise invalid("body", str(error)) from None


@blueprint.errorhandler(InvalidLinesError)
def answer_invalid_lines(error: InvalidLinesError) -> Response:
    """Return 400 with a list of the invalid lines. Nothing was imported."""
    errors = [{"field": f"line {line}", "message": reason} for line, reason, _ in error.lines]
    return problem(400, str(error), INVALID, "Invalid request", errors=errors, bad_lines=error.count)


def export(after: int, **filters: Any) -> Response:
    """Return all recipients that match these filters of `Recipients.page` as CSV, with their lists and fields."""
    columns = in_database(
        lambda database: Exported(database.recipients.field_names(), database.lists.ids(), with_status=True)
    )
    cells = (columns.rows(rows, _lists_of(columns, rows)) for rows in _pages(_rows(after, **filters), **filters))
    return csv_response(encode_pages(columns.header, cells), "recipients")


def _lists_of(columns: Exported, rows: list[Recipient]) -> dict[int, list[str]]:
    ids = [each.recipient_id for each in rows] if columns.has_lists else []
    return in_database(lambda database: database.lists.names_of(ids)) if ids else {}


def _rows(after: int, **filters: Any) -> list[Recipient]:
    return in_database(lambda database: database.recipients.page(after, MAX_PAGE_SIZE, **filters))


def _pages(rows: list[Recipient], **filters: Any) -> Iterator[list[Recipient]]:
    """Yield these recipients, which are read before the response starts, then all following ones."""
    while rows:
        yield rows
        rows = _rows(rows[-1].recipient_id, **filters)
