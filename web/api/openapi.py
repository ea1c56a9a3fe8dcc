"""GET /openapi.json: the machine-readable description of the API."""

from __future__ import annotations

from pathlib import Path

from flask import Blueprint, Response

FILE = Path(__file__).resolve().parent / "openapi.json"
blueprint = Blueprint("openapi", __name__)


@blueprint.get("/openapi.json")
def show() -> Response:
    return Response(FILE.read_bytes(), content_type="application/json")
