"""Errors that any route may raise → answers: problem documents under /api/, pages for people, plain text elsewhere.

An endpoint adds what its own contract says.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Iterator

from flask import Flask, Response, current_app, g, render_template, request
from werkzeug.exceptions import HTTPException

from database import DatabaseBusy, DatabaseUnavailable
from web.auth.browsers import wants_html
from web.middleware import request_id
from web.problem_details import problem
from web.services import current_settings

RETRY_AFTER_BUSY = "5"  # seconds
RETRY_AFTER_FAILURE = "60"  # seconds; someone has to fix it first
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
NO_TEMPORARY_FOLDER = "No usable temporary directory"  # what tempfile says if it can write in none
UNAVAILABLE = "the service cannot be used now, and nothing was changed; try again later"
REASONS = {
    404: "there is nothing at this address",
    405: "this address does not take that method",
    408: "the request took too long to arrive",
}
TITLES = {
    400: "That cannot be taken",
    403: "You are not served here",
    404: "There is nothing here",
    413: "That is too large",
    429: "Too often",
    503: "Not now",
}


def register(app: Flask) -> None:
    """Answer every error of `app`."""
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(DatabaseUnavailable, answer_unavailable)
    app.register_error_handler(OSError, answer_os_error)
    app.register_error_handler(Exception, answer_unforeseen)


def plain_text(body: str, status: int = 200) -> Response:
    """An answer of one line."""
    return Response(body, status, content_type="text/plain; charset=utf-8")


def error_answer(status: int, detail: str) -> Response:
    """Return an error in the format that clients of this path expect."""
    if request.path.startswith("/api/"):
        return problem(status, detail)
    if wants_html(request):
        title = TITLES.get(status, "That did not work")
        page = render_template("error.html", title=title, status=status, reason=detail, request_id=request_id())
        return Response(page, status, content_type="text/html; charset=utf-8")
    return plain_text(f"Error: {detail}", status)


def answer_http_error(error: HTTPException) -> Response:
    """Answer an HTTP error of Flask or of a check, with its status and headers."""
    response = error_answer(error.code or 500, _reason(error))
    for name, value in error.get_headers(request.environ):
        response.headers.setdefault(name, value)
    return response


def _reason(error: HTTPException) -> str:
    if error.code == 413:
        return f"the request is larger than {current_settings().max_body} bytes (MAX_BODY)"
    return REASONS.get(error.code or 0) or error.description or error.name


def answer_unavailable(error: DatabaseUnavailable) -> Response:
    """The database cannot be used now: nothing was stored, and the client may come again.

    Reasons and remedies name paths, hosts and versions, so only those who may use the service get them.
    """
    current_app.logger.error("%s %s %r: %s", request_id(), request.method, request.path, error)
    response = error_answer(503, str(error) if g.get("may_see_reasons") else UNAVAILABLE)
    response.headers["Retry-After"] = RETRY_AFTER_BUSY if isinstance(error, DatabaseBusy) else RETRY_AFTER_FAILURE
    return response


def answer_os_error(error: OSError) -> Response:
    """No room for a temporary file, such as an upload; anything else is a bug."""
    if error.errno not in NO_ROOM and NO_TEMPORARY_FOLDER not in str(error):
        return answer_unforeseen(error)
    current_app.logger.error("%s %s %r: %s", request_id(), request.method, request.path, str(error))
    response = error_answer(503, "there is no room for a temporary file; nothing was changed")
    response.headers["Retry-After"] = RETRY_AFTER_FAILURE
    return response


def answer_unforeseen(error: Exception) -> Response:
    """A bug: logged with where it happened, but without its message, which may hold content or a secret."""
    places = "".join(_places(error))
    current_app.logger.error("%s %s %r failed:\n%s", request_id(), request.method, request.path, places)
    return error_answer(500, f"something went wrong inside the service; its log says where ({request_id()})")


def _places(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield from traceback.format_tb(error.__traceback__)
        yield f"{type(error).__module__}.{type(error).__qualname__}\n"
        error = error.__cause__ or error.__context__
