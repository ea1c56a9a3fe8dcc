"""Recipients as CSV: taken in whole or not at all, and written out in a form that is taken in as the same rows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime

from flask import Blueprint, Response, request

from database import Database, Recipient
from intake.fields import invalid
from intake.recipients_csv.format import ADDRESS_COLUMN, STATUS_COLUMN, encode_pages
from intake.recipients_csv.reader import ImportFile, InvalidLinesError
from web.api import serializers
from web.api.json_body import CSV, read_whole
from web.api.params import MAX_PAGE_SIZE, csv_response
from web.declared_encoding import UTF_8, DeclaredEncodingError, decode_text
from web.form import request_codec
from web.problem_details import INVALID, json_response, problem
from web.services import current_settings, in_database

MAX_INVALID_LINES = 1_000  # the number that is listed
blueprint = Blueprint("recipients_csv", __name__)


@blueprint.post("/recipients/import")
def import_recipients() -> Response:
    """Add the recipients of a CSV file, or none of them if a line is invalid. Existing recipients keep their status."""
    settings = current_settings()
    octets = _as_utf_8(read_whole(request, settings.max_body, CSV), request_codec(request))
    now = datetime.now(UTC)

    def add(database: Database) -> serializers.Document:
        content = ImportFile(io.BytesIO(octets), MAX_INVALID_LINES, single_label=settings.single_label_domains)
        added = database.recipients.add(content, now)
        return {
            "added": added.added,
            "known": added.existing,
            "repeated": content.count - sum(added),
            "left_out": content.skipped,
        }

    return json_response(in_database(add))


def _as_utf_8(octets: bytes, codec: str | None) -> bytes:
    """Return a file in the charset that the request declares as UTF-8. The reader names bad lines of UTF-8 itself."""
    if codec in (None, UTF_8):
        return octets
    try:
        return decode_text(octets, codec).encode()
    except DeclaredEncodingError as error:
        raise invalid("body", str(error)) from None


@blueprint.errorhandler(InvalidLinesError)
def answer_invalid_lines(error: InvalidLinesError) -> Response:
    """400: nothing was imported, and each invalid line is listed."""
    errors = [{"field": f"line {line}", "message": reason} for line, reason in error.lines]
    return problem(400, str(error), INVALID, "The request is not valid", errors=errors, bad_lines=error.count)


def export(after: int, **filters: str | None) -> Response:
    """Return all recipients of these filters of `Recipients.page` as CSV."""
    pages = _pages(_rows(after, **filters), **filters)
    cells = (((each.address, each.status) for each in rows) for rows in pages)
    return csv_response(encode_pages((ADDRESS_COLUMN, STATUS_COLUMN), cells), "recipients")


def _rows(after: int, **filters: str | None) -> list[Recipient]:
    return in_database(lambda database: database.recipients.page(after, MAX_PAGE_SIZE, **filters))


def _pages(rows: list[Recipient], **filters: str | None) -> Iterator[list[Recipient]]:
    """Yield these recipients, which are read before the answer begins, then all that follow them."""
    while rows:
        yield rows
        rows = _rows(rows[-1].recipient_id, **filters)
