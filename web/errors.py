"""Errors that any route may raise → answers in plain text. An endpoint adds what its own contract says."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException

from database import DatabaseBusy, DatabaseUnavailable
from web.context import current_settings

RETRY_WHEN_BUSY = "5"  # seconds
RETRY_WHEN_BROKEN = "60"  # somebody has to mend it first
REASONS = {
    404: "there is nothing at this address",
    405: "this address does not take that method",
    408: "the request took too long to arrive",
}


def register(app: Flask) -> None:
    """Answer every error of `app` in plain text."""
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(DatabaseUnavailable, answer_unavailable)
    app.register_error_handler(Exception, answer_unforeseen)


def plain_text(body: str, status: int = 200) -> Response:
    """An answer of one line."""
    return Response(body, status, content_type="text/plain; charset=utf-8")


def answer_http_error(error: HTTPException) -> Response:
    """What Flask or a check refuses, with its status and headers."""
    response = Response(status=error.code, headers=error.get_headers(request.environ))
    response.content_type = "text/plain; charset=utf-8"
    response.set_data(f"Error: {_reason(error)}")
    return response


def _reason(error: HTTPException) -> str:
    if error.code == 413:
        return f"the request is larger than {current_settings().max_body} bytes (MAX_BODY)"
    return REASONS.get(error.code or 0) or error.description or error.name


def answer_unavailable(error: DatabaseUnavailable) -> Response:
    """The database cannot be used now: nothing was stored, and the client may come again."""
    current_app.logger.error("%s %r: %s", request.method, request.path, error)
    response = plain_text(f"Error: {error}", 503)
    response.headers["Retry-After"] = RETRY_WHEN_BUSY if isinstance(error, DatabaseBusy) else RETRY_WHEN_BROKEN
    return response


def answer_unforeseen(error: Exception) -> Response:
    """A bug: logged with where it happened, but without its message, which may hold content or a secret."""
    current_app.logger.error("%s %r failed:\n%s", request.method, request.path, "".join(_places(error)))
    return plain_text("Error: something went wrong inside the service; its log says where", 500)


def _places(error: BaseException | None) -> Iterator[str]:
    while error is not None:
        yield from traceback.format_tb(error.__traceback__)
        yield f"{type(error).__module__}.{type(error).__qualname__}\n"
        error = error.__cause__ or error.__context__
