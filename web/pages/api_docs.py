"""/docs: the API reference, with commands to copy."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, render_template, request

from web.form import URLENCODED
from web.pages import openapi_reader
from web.pages.openapi_reader import Schema
from web.services import current_settings

TITLES = {
    "form": "Form endpoint",
    "emails": "Emails",
    "deliveries": "Deliveries",
    "recipients": "Recipients",
    "lists": "Lists",
    "about": "About the service",
}
QUICK_START = {"addRecipients": "Add a recipient", "putEmail": "Create an email", "showEmail": "Check the result"}
MAX_LINE_LENGTH = 50  # of JSON in a command; longer JSON has a line for each field
blueprint = Blueprint("docs", __name__)
blueprint.add_app_template_filter(openapi_reader.prose)


@blueprint.get("/docs")
def show() -> str:
    settings = current_settings()
    base = settings.public_url or request.url_root.rstrip("/")
    needs_token = bool(settings.api_tokens)
    by_id = {each["operationId"]: each for each in openapi_reader.operations()}
    return render_template(
        "docs.html",
        quick_start=[(title, by_id[operation_id]) for operation_id, title in QUICK_START.items()],
        description=openapi_reader.document()["info"]["description"],
        groups={tag: [each for each in openapi_reader.operations() if each["tags"] == [tag]] for tag in TITLES},
        titles=TITLES,
        errors=openapi_reader.common_errors(),
        objects=openapi_reader.answered_objects(),
        fields=openapi_reader.fields,
        parameters=openapi_reader.parameters,
        kind=openapi_reader.kind,
        needs_token=needs_token,
        curl=lambda operation: curl(operation, base, needs_token),
    )


def curl(operation: Schema, base: str, needs_token: bool) -> str:
    """Return the curl command for an operation."""
    body = next(iter(operation.get("requestBody", {}).get("content", {}).items()), None)
    words = [f"-X {operation['method']}"] if operation["method"] not in ("GET", "POST") else []
    if operation["method"] == "POST" and (body is None or "example" not in body[1]):
        words.append("-X POST")
    if needs_token and operation.get("security") != []:
        words.append('-H "Authorization: Bearer $API_TOKEN"')
    if body is not None:
        words += _data(body[0], body[1].get("example"))
    examples = {each["name"]: each.get("example") for each in operation["parameters"]}
    return " \\\n  ".join([f"curl {shlex.quote(base + operation['path'].format_map(examples))}", *words])


def _data(content_type: str, example: Any) -> Iterator[str]:
    if content_type == URLENCODED:
        for name, value in example.items():
            yield f"--data-urlencode {shlex.quote(f'{name}={value}')}"
        return
    yield f"-H 'Content-Type: {content_type}'"
    if isinstance(example, str):
        yield f"--data-binary {shlex.quote(example.replace(chr(13), ''))}"
    else:
        text = json.dumps(example)
        if len(text) > MAX_LINE_LENGTH:
            text = json.dumps(example, indent=2).replace("\n", "\n  ")
        yield f"--data {shlex.quote(text)}"
