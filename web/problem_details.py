"""Problem documents, the error format of the JSON API (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from flask import Response

INVALID = "urn:problem-type:email-endpoint:invalid"  # with `errors`, a list of fields and messages
CONFLICT = "urn:problem-type:email-endpoint:conflict"  # the state of an email or delivery does not allow the operation
NOT_FOUND = "urn:problem-type:email-endpoint:not-found"  # the URL is valid, but the object does not exist


def problem(status: int, detail: str, kind: str = "about:blank", title: str = "", **more: object) -> Response:
    """Return a problem document. Without a `kind`, its meaning is that of its status."""
    title = title or HTTPStatus(status).phrase
    document = {"type": kind, "title": title, "status": status, "detail": detail, **more}
    return json_response(document, status, "application/problem+json")


def json_response(body: Mapping[str, object], status: int = 200, kind: str = "application/json") -> Response:
    """Return a JSON response in UTF-8."""
    return Response(json.dumps(body, ensure_ascii=False) + "\n", status, content_type=kind)


def no_content() -> Response:
    """Return a response without a body."""
    response = Response(status=204)
    del response.headers["Content-Type"]
    return response
