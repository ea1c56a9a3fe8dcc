"""Query parameters and responses of lists: pages, formats, cursors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import IO
from urllib.parse import quote, urlencode

from flask import Request, Response, g, request
from werkzeug.exceptions import ServiceUnavailable

from intake.errors import ValidationError
from intake.fields import Field, Fields, choice, invalid, number
from intake.recipients_csv.format import BYTE_ORDER_MARK
from web.body_limits import READ_SIZE
from web.downloads import begin_download, send_in_parts
from web.form import REPEATED
from web.problem_details import json_response

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1_000
MAX_IN_MEMORY = 1_000_000  # bytes of a CSV file
CURSOR = re.compile(r"(-?[0-9]{1,12})\.(-?[0-9]{1,19})")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def query_fields(request: Request, *known: str) -> Fields:
    """Return the query parameters. Unknown and repeated ones are errors, because ignoring them would surprise."""
    for name, values in request.args.lists():
        if len(values) > 1 and name in known:
            raise invalid(name, REPEATED)
    return Fields(request.args.to_dict(), known)


def limit(value: object) -> int:
    """Return the maximum number of rows of a page."""
    size = number(value)
    if not 0 < size <= MAX_PAGE_SIZE:
        raise ValidationError("limit", f"must be from 1 to {MAX_PAGE_SIZE:,}")
    return size


def email_cursor(value: object) -> tuple[datetime, int]:
    """Parse the cursor of a page of emails: the due time and event_id of its last email."""
    match = CURSOR.fullmatch(value) if isinstance(value, str) else None
    try:
        if match:
            return EPOCH + timedelta(seconds=int(match[1])), number(match[2])
    except OverflowError:  # not a date
        pass
    raise ValidationError("after", "is not a valid cursor; use the value from `next`")


def cursor_of(due_at: datetime, event_id: int) -> str:
    """Return the cursor that `email_cursor` parses."""
    return f"{int(due_at.timestamp())}.{event_id}"


def answer_format(fields: Fields) -> Field[str]:
    """Return `csv` or `json`, as requested by `format` or else by the Accept header."""
    accepted = request.accept_mimetypes.best_match(["application/json", "text/csv"])
    return fields.take_or("format", choice("json", "csv"), "csv" if accepted == "text/csv" else "json")


def page_response(noun: str, rows: Sequence[object], after: object | None) -> Response:
    """Return a page of a list. With `after`, the URL of the next page is in `next` and in the Link header."""
    if after is None:
        return json_response({noun: rows, "next": None})
    arguments = {**request.args.to_dict(), "after": str(after)}
    address = f"{quote(request.path, safe='/@')}?{urlencode(arguments)}"
    response = json_response({noun: rows, "next": address})
    response.headers["Link"] = f'<{address}>; rel="next"'
    return response


def csv_response(chunks: Iterable[bytes], name: str) -> Response:
    """Return a complete CSV file, or fail.

    The file is written to disk first, because a server would end a broken stream as if it were complete. Memory use
    stays constant. A download in a browser starts with a byte order mark, which Excel needs to detect UTF-8. Programs
    get none, because most would read it as part of the first column's name.
    """
    if _is_from_person():
        chunks = chain((BYTE_ORDER_MARK,), chunks)
    with begin_download() as stack:
        file = stack.enter_context(SpooledTemporaryFile(max_size=MAX_IN_MEMORY))  # noqa: SIM115 - closed with the response
        _fill(file, chunks)
        response = Response(content_type="text/csv; charset=utf-8; header=present")
        response.content_length = file.tell()
        response.headers["Content-Disposition"] = f'attachment; filename="{name}.csv"'
        if request.method != "HEAD":
            file.seek(0)
            send_in_parts(response, iter(lambda: file.read(READ_SIZE), b""), stack.pop_all())
    return response


def _is_from_person() -> bool:
    return bool(g.get("is_logged_in")) or "text/html" in request.headers.get("Accept", "")


def _fill(file: IO[bytes], chunks: Iterable[bytes]) -> None:
    try:
        for chunk in chunks:
            file.write(chunk)
    except OSError as error:
        reason = f"cannot create a temporary file ({error.strerror})"
        raise ServiceUnavailable(reason, retry_after=60) from error
