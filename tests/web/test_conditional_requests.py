"""Pages that are requested repeatedly: ETags and 304."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from flask import Flask, flash
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from email_app import create_app
from settings import Settings
from tests.support import new_database
from web.auth import sessions
from web.pages import etag

SHOWN: list[object] = []


def leave_message() -> str:
    sessions.secret_key()
    flash("It was done.")
    return "done"


@pytest.fixture
def client(settings: Settings) -> FlaskClient:
    """Return a client of a service whose page /shown shows SHOWN. /flash leaves a message for the next page."""
    new_database.create(settings, datetime.now(UTC))
    app: Flask = create_app(settings)
    app.add_url_rule("/shown", "shown", lambda: etag.page("error.html", SHOWN, title="Here", reason="it is"))
    app.add_url_rule("/flash", "flash", leave_message)
    SHOWN[:] = [1, "Größe"]
    return app.test_client()


def ask_again(client: FlaskClient, known: TestResponse) -> TestResponse:
    return client.get("/shown", headers={"If-None-Match": known.headers["ETag"]})


def test_what_has_not_changed_is_not_sent_again(client: FlaskClient) -> None:
    first = client.get("/shown")
    assert first.status_code == 200 and "Here" in first.text and first.content_type.startswith("text/html")
    again = ask_again(client, first)
    assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", first.headers["ETag"])
    assert again.headers["Cache-Control"] == "no-store" and again.headers["Vary"] == "Cookie"


def test_what_has_changed_is_sent_with_another_tag(client: FlaskClient) -> None:
    first = client.get("/shown")
    SHOWN.append(2)
    again = ask_again(client, first)
    assert again.status_code == 200 and "Here" in again.text
    assert again.headers["ETag"] != first.headers["ETag"]


def test_a_message_for_the_person_is_never_kept_back(client: FlaskClient) -> None:
    first = client.get("/shown")
    client.get("/flash")
    assert "It was done." in ask_again(client, first).text
    assert ask_again(client, first).status_code == 304


@pytest.mark.parametrize("header", ["", "*", '"', "W/", "\xff", '"other", W/"more"'])
def test_an_odd_tag_is_no_error(client: FlaskClient, header: str) -> None:
    assert client.get("/shown", headers={"If-None-Match": header}).status_code in (200, 304)
