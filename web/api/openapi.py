"""GET /openapi.json: what the API takes and answers, as a file that programs read."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response

FILE = Path(__file__).resolve().parent / "openapi.json"
blueprint = Blueprint("openapi", __name__)


@blueprint.get("/openapi.json")
def show() -> Response:
    """The file as it is."""
    return Response(FILE.read_bytes(), content_type="application/json")
