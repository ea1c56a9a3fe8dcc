"""What any route answers when something is wrong with the service itself."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from flask import Flask
from flask.testing import FlaskClient

from database import Database, db_init
from email_app import create_app
from settings import Settings
from web.services import services_of

GOOD = {"event_id": "1", "email_subject": "S", "email_content": "C", "timestamp": "2030-01-02 08:00:00"}


@pytest.fixture
def app(settings: Settings) -> Iterator[Flask]:
    db_init(settings, datetime.now(UTC))
    app = create_app(settings)
    yield app
    services_of(app).email_writer.close()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


def database_of(app: Flask) -> Database:
    """The one that all requests use to save an email."""
    return services_of(app).email_writer.connect()


def test_a_full_database_is_answered_with_503_and_nothing_half_stored(app: Flask, client: FlaskClient) -> None:
    database_of(app).connection.fetch_all("PRAGMA max_page_count = 1")  # SQLite takes this as: not a page more
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
