"""Problem documents: how the JSON API says what is wrong (RFC 9457)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus

from flask import Response

INVALID = "urn:problem-type:email-endpoint:invalid"  # with `errors`: a list of field and message
CONFLICT = "urn:problem-type:email-endpoint:conflict"  # the state of an email or delivery does not allow it
NOT_FOUND = "urn:problem-type:email-endpoint:not-found"  # the address is right, but there is no such thing


def problem(status: int, detail: str, kind: str = "about:blank", title: str = "", **more: object) -> Response:
    """A problem document; without a `kind` of its own it means what its status means."""
    title = title or HTTPStatus(status).phrase
    document = {"type": kind, "title": title, "status": status, "detail": detail, **more}
    return json_response(document, status, "application/problem+json")


def json_response(body: Mapping[str, object], status: int = 200, kind: str = "application/json") -> Response:
    """A JSON document, in UTF-8."""
    return Response(json.dumps(body, ensure_ascii=False) + "\n", status, content_type=kind)
