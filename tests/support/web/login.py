"""Log in through the login page."""

from __future__ import annotations

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.support.web.forms import csrf_token

TOKENS = ("first-token-of-two", "zweites-Tökén-hier")
BROWSER = {"Accept": "text/html,*/*;q=0.8"}


def csrf_of(client: FlaskClient, page: str = "/login") -> str:
    return csrf_token(client.get(page).text)


def log_in(client: FlaskClient, token: str = TOKENS[0], page: str = "/login", **headers: str) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(page, data={"csrf_token": csrf_of(client), "token": token}, headers=named)
