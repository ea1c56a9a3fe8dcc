"""The JSON API in the test's own process, on its own installation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from werkzeug.test import TestResponse

from database import Databases
from email_app import create_app
from tests.support.in_process import sweep_once
from tests.support.installation import Installation
from web.services import services_of

EMAIL = {"subject": "Größe 日本", "content": "Hello 😀\n", "due_at": "2030-01-02T08:00:00+08:00"}
PROBLEM = "application/problem+json"


class Api:
    """A client of the API, with its application and installation."""

    def __init__(self, folder: Path, **environment: str) -> None:
        self.installation = Installation(folder, **environment)
        self.app = create_app(self.installation.settings)
        self.client = self.app.test_client()

    def __call__(self, method: str, path: str, body: object = None, **options: Any) -> TestResponse:
        """Send a request with `body` as JSON, and return the response."""
        if body is not None:
            options["json"] = body
        return self.client.open(f"/api{path}", method=method, **options)

    def get(self, path: str) -> Any:
        """GET `path`, and return the JSON of the response. Its status must be 200."""
        answer = self("GET", path)
        assert answer.status_code == 200, answer.text
        return answer.json

    def post(self, path: str, body: object = None, **options: Any) -> Any:
        """POST to `path`, and return the JSON of the response. Its status must be 200."""
        answer = self("POST", path, body, **options)
        assert answer.status_code == 200, answer.text
        return answer.json

    def sweep(self) -> list[str]:
        """Send what is due, and return the errors."""
        return sweep_once(self.installation)

    @property
    def databases(self) -> Databases:
        return services_of(self.app).databases

    def close(self) -> None:
        """Close this thread's database."""
        self.databases.close()


def fields_of(answer: TestResponse) -> list[str]:
    """Return the fields named in a problem document. Fail if it is not a valid one with status 400."""
    assert answer.status_code == 400 and answer.content_type == PROBLEM, answer.text
    assert answer.json is not None and answer.json["status"] == 400 and answer.json["type"].endswith(":invalid")
    return [error["field"] for error in answer.json["errors"]]


def is_problem(answer: TestResponse, status: int, word: str = "") -> bool:
    """Return whether a response is a problem document with this status and `word` in its detail."""
    document = answer.json
    assert document is not None
    named = document["type"] and document["title"] and document["status"] == answer.status_code == status
    return bool(named) and word in document["detail"] and answer.content_type == PROBLEM
