"""How all routes respond when the service itself has a problem."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime

import pytest
from flask import Flask
from flask.testing import FlaskClient

from database import Database
from email_app import create_app
from settings import Settings
from tests.support import new_database
from tests.support.web.login import BROWSER, TOKENS, log_in
from web.services import services_of

GOOD = {"event_id": "1", "email_subject": "S", "email_content": "C", "timestamp": "2030-01-02 08:00:00"}


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    new_database.create(settings, datetime.now(UTC))
    app = create_app(settings)
    yield app
    services_of(app).email_writer.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def database_of(app: Flask) -> Database:
    """Return the database that all requests share to save emails."""
    return services_of(app).email_writer.connect()


def test_a_full_database_is_answered_with_503_and_nothing_half_stored(app: Flask, client: FlaskClient) -> None:
    database_of(app).connection.fetch_all("PRAGMA max_page_count = 1")  # for SQLite, this means: not one page more
    answer = client.post("/send-emails", data=GOOD | {"email_content": "x" * 1_000_000})
    assert answer.status_code == 503 and answer.text.startswith("Error: the disk is full")
    assert answer.headers["Retry-After"] == "60" and answer.content_type == "text/plain; charset=utf-8"
    assert database_of(app).emails.get(1) is None
    assert client.post("/send-emails", data=GOOD).text == "Successful"  # by a new connection, without the limit


def test_a_database_that_cannot_be_written_is_answered_with_503(app: Flask, client: FlaskClient) -> None:
    database_of(app).connection.fetch_all("PRAGMA query_only = 1")
    answer = client.post("/send-emails", data=GOOD)
    assert answer.status_code == 503 and "cannot write to" in answer.text and "Retry-After" in answer.headers


@pytest.mark.parametrize(("version", "remedy"), [(0, "flask init-db"), (99, "newer program")])
def test_tables_of_another_version_are_answered_with_503(
    app: Flask, client: FlaskClient, version: int, remedy: str
) -> None:
    with database_of(app).connection.transaction():
        database_of(app).connection.execute("UPDATE meta SET value = :v WHERE name = 'schema_version'", v=str(version))
    services_of(app).email_writer.close()
    answer = client.post("/send-emails", data=GOOD)
    assert answer.status_code == 503 and remedy in answer.text


def test_a_file_that_is_no_database_is_answered_with_503(client: FlaskClient, settings: Settings) -> None:
    assert settings.database_path is not None
    settings.database_path.write_bytes(b"not a database, not at all" * 100)
    assert client.post("/send-emails", data=GOOD).status_code == 503


def break_database(settings: Settings, how: str) -> None:
    file = settings.database_path
    assert file is not None
    if how == "missing":
        file.rename(file.with_name("kept"))
    elif how == "another file":
        file.write_bytes(b"not a database, not at all" * 100)
    else:
        with closing(sqlite3.connect(file)) as connection, connection:
            connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema_version'")


FAULTS = ["missing", "another file", "another version"]


@pytest.mark.parametrize("how", FAULTS)
@pytest.mark.parametrize("was_used", [True, False], ids=["used before", "new process"])
def test_strangers_are_told_neither_where_the_database_is_nor_what_fixes_it(
    settings: Settings, how: str, was_used: bool
) -> None:
    new_database.create(settings, datetime.now(UTC))
    client = create_app(settings._replace(api_tokens=TOKENS)).test_client()
    if was_used:
        client.get("/login")
    break_database(settings, how)
    answers = []
    for cookie in ("", "x", "e30.aaaa.bbbb"):
        if cookie:
            client.set_cookie("session", cookie)
        for path in (
            "/",
            "/login",
            "/health",
            "/api/emails",
            "/unsubscribe/x",
            "/readyz",
            "/healthz",
            "/metrics",
            "/no",
        ):
            answers += [client.get(path, headers=headers) for headers in ({}, BROWSER)]
        for path in ("/login", "/logout", "/send-emails", "/unsubscribe/x", "/api/emails/1/cancel"):
            answers += [client.post(path, data=GOOD, headers=headers) for headers in ({}, BROWSER)]
    assert 503 in [answer.status_code for answer in answers]
    for answer in answers:
        told = answer.text + str(answer.headers)
        assert str(settings.folder) not in told and "email.db" not in told
        assert "init-db" not in told and "version" not in told and "flask" not in told.lower()


@pytest.mark.parametrize("how", ["missing", "another file"])
def test_those_who_may_use_the_service_get_the_reason_and_the_remedy(settings: Settings, how: str) -> None:
    new_database.create(settings, datetime.now(UTC))
    with_token = create_app(settings._replace(api_tokens=TOKENS)).test_client()
    with_session = with_token.application.test_client()
    on_this_machine = create_app(settings).test_client()
    log_in(with_session)
    break_database(settings, how)
    reasons = [
        with_token.get("/api/emails", headers={"Authorization": f"Bearer {TOKENS[0]}"}),
        with_session.get("/", headers=BROWSER),
        on_this_machine.get("/api/emails"),
    ]
    for answer in reasons:
        assert answer.status_code == 503
        assert "email.db" in answer.text


def test_a_bug_is_logged_with_its_place_and_without_content(
    app: Flask, client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> str:
        try:
            raise KeyError("content-of-an-email")
        except KeyError as error:
            raise ValueError("secret-token") from error

    app.add_url_rule("/broken", view_func=broken)
    answer = client.get("/broken?content-of-an-email")
    logged = caplog.text
    assert answer.status_code == 500 and answer.text.startswith("Error: ") and "secret" not in answer.text
    assert "in broken" in logged and "ValueError" in logged and "KeyError" in logged and "test_errors.py" in logged
    assert "content-of-an-email" not in logged.replace('raise KeyError("content-of-an-email")', "")
    assert "secret-token" not in logged.replace('raise ValueError("secret-token")', "")


def test_a_forged_address_cannot_add_a_line_to_the_log(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    client.application.add_url_rule("/<path:any>", view_func=lambda any: str(1 // 0))
    client.get("/x%0A2026-01-01 INFO forged")
    assert "\n2026-01-01" not in caplog.text


def test_bad_settings_stop_the_start_with_a_line_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_BODY", "huge")
    monkeypatch.setenv("TIMEZONE", "Atlantis")
    with pytest.raises(SystemExit, match=r"(?s)MAX_BODY.*TIMEZONE|TIMEZONE.*MAX_BODY"):
        create_app()
