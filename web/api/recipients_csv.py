"""Recipients as CSV: taken in whole or not at all, and written out in a form that is taken in as the same rows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime

from flask import Blueprint, Response, request

from database import Database, Recipient
from intake.fields import invalid
from intake.recipients_csv.format import ADDRESS_COLUMN, STATUS_COLUMN, encode_rows
from intake.recipients_csv.reader import BadLinesError, ImportFile
from web.api import serializers
from web.api.json_body import CSV, read_whole
from web.api.params import MAX_PAGE_SIZE, csv_response
from web.declared_encoding import UTF_8, DeclaredEncodingError, decode_text
from web.form import request_codec
from web.problem_details import INVALID, json_response, problem
from web.services import current_settings, in_database

MAX_BAD_LINES = 1_000  # lines that are named
blueprint = Blueprint("recipients_csv", __name__)


@blueprint.post("/recipients/import")
def import_recipients() -> Response:
    """Add the recipients of a CSV file: all of them, or none if a line is bad. Nobody becomes active again by it."""
    settings = current_settings()
    octets = _as_utf_8(read_whole(request, settings.max_body, CSV), request_codec(request))
    now = datetime.now(UTC)

    def add(database: Database) -> serializers.Document:
        content = ImportFile(io.BytesIO(octets), MAX_BAD_LINES, single_label=settings.single_label_domains)
        added = database.recipients.add(content, now)
        return {**added._asdict(), "repeated": content.count - sum(added), "left_out": content.inactive}

    return json_response(in_database(add))


def _as_utf_8(octets: bytes, codec: str | None) -> bytes:
    """Return a file in the charset that the request declares as UTF-8. The reader names bad lines of UTF-8 itself."""
    if codec in (None, UTF_8):
        return octets
    try:
        return decode_text(octets, codec).encode()
    except DeclaredEncodingError as error:
        raise invalid("body", str(error)) from None


@blueprint.errorhandler(BadLinesError)
def answer_bad_lines(error: BadLinesError) -> Response:
    """400: nothing was imported, and each bad line is named."""
    errors = [{"field": f"line {line}", "message": reason} for line, reason in error.lines]
    return problem(400, str(error), INVALID, "The request is not valid", errors=errors, bad_lines=error.count)


def export(after: int, status: str | None, begins: str | None) -> Response:
    """All recipients of this filter as CSV."""
    rows = _rows(after, status, begins)
    return csv_response(_csv(rows, after, status, begins), "recipients")


def _rows(after: int, status: str | None, begins: str | None) -> list[Recipient]:
    return in_database(
        lambda database: database.recipients.page(
            after=after, limit=MAX_PAGE_SIZE, status=status, address_begins=begins
        )
    )


def _csv(rows: list[Recipient], after: int, status: str | None, begins: str | None) -> Iterator[bytes]:
    yield encode_rows([(ADDRESS_COLUMN, STATUS_COLUMN)])
    while rows:
        yield encode_rows((each.address, each.status) for each in rows)
        after = rows[-1].recipient_id
        rows = _rows(after, status, begins)
