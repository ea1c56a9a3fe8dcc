"""Log in through the login page."""

from __future__ import annotations

import re

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

TOKENS = ("first-token-of-two", "zweites-Tökén-hier")


BROWSER = {"Accept": "text/html,*/*;q=0.8"}


def csrf_of(client: FlaskClient, page: str = "/login") -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', client.get(page).text)
    assert found
    return found[1]


def log_in(client: FlaskClient, token: str = TOKENS[0], page: str = "/login", **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(page, data={"csrf_token": csrf_of(client), "token": token}, headers=named)
