"""/docs: the API for people, with commands that can be copied."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator

from flask import Blueprint, render_template, request

from web.form import URLENCODED
from web.pages.openapi_reader import Operation, described, prose
from web.services import current_settings

TITLES = {
    "form": "An email by form fields",
    "emails": "Emails",
    "deliveries": "Deliveries",
    "recipients": "Recipients",
    "about": "About the service",
}
blueprint = Blueprint("docs", __name__)
blueprint.add_app_template_filter(prose)


@blueprint.get("/docs")
def show() -> str:
    """The whole of it, on one page."""
    settings = current_settings()
    base = settings.public_url or request.url_root.rstrip("/")
    needs_token = bool(settings.api_tokens)
    return render_template(
        "docs.html",
        api=described(),
        titles=TITLES,
        needs_token=needs_token,
        curl=lambda operation: curl(operation, base, needs_token),
    )


def curl(operation: Operation, base: str, needs_token: bool) -> str:
    """The command that does it, for a shell."""
    words = [f"-X {operation.method}"] if operation.method not in ("GET", "POST") else []
    if operation.method == "POST" and operation.example is None:
        words.append("-X POST")
    if needs_token and not operation.is_open:
        words.append('-H "Authorization: Bearer $API_TOKEN"')
    words += _data(operation)
    return " \\\n  ".join([f"curl {shlex.quote(base + operation.example_path)}", *words])


def _data(operation: Operation) -> Iterator[str]:
    if not operation.types:
        return
    kind = operation.types[0]
    if kind == URLENCODED:
        for name, value in operation.example.items():
            yield f"--data-urlencode {shlex.quote(f'{name}={value}')}"
        return
    yield f"-H 'Content-Type: {kind}'"
    if isinstance(operation.example, str):
        yield f"--data-binary {shlex.quote(operation.example.replace(chr(13), ''))}"
    else:
        yield f"--data {shlex.quote(json.dumps(operation.example))}"
