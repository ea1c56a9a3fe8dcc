"""Turn errors of any route into responses: problem documents under /api/, pages for browsers, plain text elsewhere.

Endpoints add handlers for the errors in their own contract.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator

from flask import Flask, Response, current_app, g, render_template, request
from werkzeug.exceptions import HTTPException

from database import DatabaseBusy, DatabaseUnavailable
from monitoring.humanize import file_size
from web.auth.browsers import wants_html
from web.body_limits import REQUEST_TIMED_OUT
from web.middleware import request_id
from web.problem_details import problem
from web.services import current_settings

RETRY_AFTER_BUSY = "5"  # seconds
RETRY_AFTER_FAILURE = "60"  # seconds; someone has to fix it first
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_TEMPORARY_FOLDER = "No usable temporary directory"  # the message of tempfile if no folder is writable
RECIPIENT_NOT_FOUND = "recipient not found"
CONTENT_PRUNED = "the content of this email has been deleted"
LIST_NOT_FOUND = "list not found"
UNAVAILABLE = "the service is temporarily unavailable; try again later"
REASONS = {
    404: "page not found",
    405: "method not allowed here",
    408: REQUEST_TIMED_OUT,
}
TITLES = {
    400: "Bad request",
    403: "Access denied",
    404: "Page not found",
    413: "Request too large",
    429: "Too many requests",
    503: "Temporarily unavailable",
}


def register(app: Flask) -> None:
    """Handle every error of `app`."""
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(DatabaseUnavailable, answer_unavailable)
    app.register_error_handler(OSError, answer_os_error)
    app.register_error_handler(Exception, answer_unforeseen)


def plain_text(body: str, status: int = 200) -> Response:
    """Return a plain-text response."""
    return Response(body, status, content_type="text/plain; charset=utf-8")


def error_answer(status: int, detail: str) -> Response:
    """Return an error in the format that clients of this path expect."""
    if request.path.startswith("/api/"):
        return problem(status, detail)
    if wants_html(request):
        title = TITLES.get(status, "Something went wrong")
        page = render_template("error.html", title=title, status=status, reason=detail, request_id=request_id())
        return Response(page, status, content_type="text/html; charset=utf-8")
    return plain_text(f"Error: {detail}", status)


def answer_http_error(error: HTTPException) -> Response:
    """Return the response for an HTTP error, with its status and headers."""
    response = error_answer(error.code or 500, _reason(error))
    for name, value in error.get_headers(request.environ):
        response.headers.setdefault(name, value)
    return response


def _reason(error: HTTPException) -> str:
    if error.code == 413:
        setting = "" if wants_html(request) else " (MAX_BODY)"
        return f"the request body exceeds {file_size(current_settings().max_body)}{setting}"
    return REASONS.get(error.code or 0) or error.description or error.name


def answer_unavailable(error: DatabaseUnavailable) -> Response:
    """Return 503. Repeating the request is safe.

    If the connection is lost during a commit, the change may have been saved. A repeated email is then reported as
    identical. Reasons and remedies contain paths, hosts and versions, so only authenticated clients see them.
    """
    current_app.logger.error("%s %s %r: %s", request_id(), request.method, request.path, error)
    response = error_answer(503, str(error) if g.get("may_see_reasons") else UNAVAILABLE)
    response.headers["Retry-After"] = RETRY_AFTER_BUSY if isinstance(error, DatabaseBusy) else RETRY_AFTER_FAILURE
    return response


def answer_os_error(error: OSError) -> Response:
    """Return 503 if there is no space for a temporary file, such as an upload. Any other OSError is a bug."""
    if error.errno not in NO_ROOM and NO_TEMPORARY_FOLDER not in str(error):
        return answer_unforeseen(error)
    current_app.logger.error("%s %s %r: %s", request_id(), request.method, request.path, str(error))
    response = error_answer(503, "cannot create a temporary file; nothing was changed")
    response.headers["Retry-After"] = RETRY_AFTER_FAILURE
    return response


def answer_unforeseen(error: Exception) -> Response:
    """Log a bug with its location, but without its message, which may contain an email or a secret."""
    places = "".join(_places(error))
    current_app.logger.error("%s %s %r failed:\n%s", request_id(), request.method, request.path, places)
    return error_answer(500, f"internal error; see the server log (request {request_id()})")


def _places(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield from traceback.format_tb(error.__traceback__)
        yield f"{type(error).__module__}.{type(error).__qualname__}\n"
        error = error.__cause__ or error.__context__
