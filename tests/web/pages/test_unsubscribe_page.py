"""web/unsubscribe.py: the page of an unsubscribe link."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from database import Address, Database
from email_app import create_app
from sender.outgoing import unsubscribe_tokens
from settings import Settings
from web.unsubscribe import masked

ADDRESS = "ann.lee@example.com"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
HOSTILE = [
    *("A" * 60_000, "%00", "%00" * 32, "%", "%zz", "%ff%fe", "%E4%BD%A0" * 32, "%F0%9F%99%82" * 32, " ", "%20"),
    *("//", "../" * 20, "..%2f" * 20, "%0d%0aX:%20y", "<script>", "{{7*7}}", "'; DROP TABLE recipients; --"),
]


@pytest.fixture
def client(settings: Settings, database: Database) -> FlaskClient:
    """Return a client of a service that requires a token and has one recipient."""
    database.recipients.add([Address(ADDRESS, ADDRESS)], datetime.now(UTC))
    return create_app(settings._replace(api_tokens=("t" * 16,))).test_client()


@pytest.fixture
def link(settings: Settings, database: Database) -> str:
    return f"/unsubscribe/{unsubscribe_tokens(settings, database).token(1).decode()}"


def status(database: Database) -> str:
    return database.connection.fetch_all("SELECT status FROM recipients")[0][0]  # type: ignore[no-any-return]


def test_the_page_asks_and_changes_nothing(client: FlaskClient, link: str, database: Database) -> None:
    """Mail scanners follow links."""
    for method in ("GET", "HEAD"):
        answer = client.open(link, method=method)
        assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8")
        assert status(database) == "active"
    page = client.get(link).text
    assert '<form method="post"><button>Unsubscribe</button></form>' in page
    assert "a…@example.com" in page
    assert "ann" not in page


@pytest.mark.parametrize(
    "send",
    [
        lambda client, link: client.post(link, data=ONE_CLICK),
        lambda client, link: client.post(link, data=ONE_CLICK, content_type="multipart/form-data"),
        lambda client, link: client.post(link),
        lambda client, link: client.post(link, data="junk", content_type="application/json"),
        lambda client, link: client.post(link, data={"csrf_token": "wrong"}, headers={"Cookie": "session=junk"}),
        lambda client, link: client.post(link, headers={"Origin": "null"}),
        lambda client, link: client.post(link, headers={"Origin": "https://mail.provider.example"}),
        lambda client, link: client.post(link, environ_overrides={"REMOTE_ADDR": "203.0.113.9"}),
    ],
    ids=["one click", "one click, multipart", "button", "any body", "a session", "no origin", "an origin", "far away"],
)
def test_a_post_unsubscribes_whoever_sends_it(
    send: Callable[[FlaskClient, str], TestResponse], client: FlaskClient, link: str, database: Database
) -> None:
    """It works repeatedly, without a cookie or a login."""
    for _ in range(2):
        answer = send(client, link)
        assert (answer.status_code, status(database)) == (200, "unsubscribed")
        assert "You are unsubscribed" in answer.text
        assert "Set-Cookie" not in answer.headers
    assert "You are unsubscribed" in client.get(link).text


def test_the_page_keeps_its_address_to_itself(client: FlaskClient, link: str) -> None:
    for answer in (client.get(link), client.post(link), client.get("/unsubscribe/forged"), client.post(link + "x")):
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Robots-Tag"] == "noindex"
        policy = answer.headers["Content-Security-Policy"].split("; ")
        assert {"default-src 'none'", "form-action 'self'", "frame-ancestors 'none'"} <= set(policy)
        assert "Set-Cookie" not in answer.headers
        assert "Location" not in answer.headers


def test_a_forged_or_damaged_link_says_so_and_does_nothing(client: FlaskClient, link: str, database: Database) -> None:
    """No token works for another recipient."""
    forged = [
        link[:-1],
        link + "A",
        link[:-1] + ("A" if link[-1] != "A" else "B"),
        link.lower(),
        link + "/x",
        link + "/./",
    ]
    for address in [*forged, "/unsubscribe/1", "/unsubscribe/" + "A" * 32, "/unsubscribe/ann.lee@example.com"]:
        for method in ("GET", "POST"):
            answer = client.open(address, method=method)
            assert (answer.status_code, status(database)) == (404, "active"), address
            assert "This link does not work" in answer.text


@pytest.mark.parametrize("tail", HOSTILE, ids=lambda tail: tail[:20])
def test_hostile_addresses_are_refused(tail: str, client: FlaskClient, link: str, database: Database) -> None:
    for address in ("/unsubscribe/" + tail, link + tail):
        for method in ("GET", "POST"):
            answer = client.open(address, method=method)
            assert answer.status_code in (404, 401, 308), address
            assert "<script>" not in answer.text
            assert "49" not in answer.text
            assert "X" not in answer.headers
    assert status(database) == "active"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_no_other_method_does_anything(method: str, client: FlaskClient, link: str, database: Database) -> None:
    assert client.open(link, method=method).status_code in (401, 403, 405)
    assert status(database) == "active"


def test_who_was_removed_is_told_that_this_link_is_of_no_use(
    client: FlaskClient, link: str, database: Database
) -> None:
    database.recipients.remove([Address(ADDRESS, ADDRESS)], datetime.now(UTC))
    for answer in (client.get(link), client.post(link, data=ONE_CLICK)):
        assert answer.status_code == 200
        assert "You are not on the list" in answer.text


def test_who_unsubscribed_and_was_removed_stays_unsubscribed(
    client: FlaskClient, link: str, database: Database
) -> None:
    client.post(link)
    database.recipients.remove([Address(ADDRESS, ADDRESS)], datetime.now(UTC))
    assert client.post(link).status_code == 200
    database.recipients.add([Address(ADDRESS, ADDRESS)], datetime.now(UTC))
    assert status(database) == "unsubscribed"


def test_a_link_holds_as_long_as_its_key(client: FlaskClient, link: str, settings: Settings) -> None:
    """With SECRET_KEY, links that the key in the database signed are no longer valid."""
    assert create_app(settings).test_client().get(link).status_code == 200
    other = create_app(settings._replace(secret_key="k" * 16)).test_client()
    assert other.get(link).status_code == 404


def test_two_people_at_once_are_one(client: FlaskClient, link: str, database: Database) -> None:
    codes: list[int] = []
    app = client.application
    threads = [
        threading.Thread(target=lambda: codes.append(app.test_client().post(link).status_code)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (codes, status(database)) == ([200] * 8, "unsubscribed")


def test_the_clicks_of_all_users_of_a_mail_provider_are_taken(
    settings: Settings, link: str, database: Database
) -> None:
    limited = create_app(settings._replace(rate_limit=1)).test_client()
    assert {limited.post(link).status_code for _ in range(20)} == {200}


def test_without_a_database_nothing_is_told_to_strangers(client: FlaskClient, link: str, settings: Settings) -> None:
    assert settings.database_path is not None
    settings.database_path.write_bytes(b"no database" * 100)
    for answer in (client.get(link), client.post(link)):
        assert answer.status_code == 503
        assert "Temporarily unavailable" in answer.text
        assert "email.db" not in answer.text
        assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (ADDRESS, "a…@example.com"),
        ("用户@例子.example", "用…@例子.example"),
        ('"ann@home"@example.com', '"…@example.com'),
        ("a@b.example", "a…@b.example"),
    ],
)
def test_a_masked_address_is_known_by_its_owner_alone(address: str, shown: str) -> None:
    assert masked(address) == shown


@pytest.mark.parametrize("after", ["/", ".", ").", "%22", ">", "%3E", ",", "./", "!", "*", "%E2%80%9D", "'>."])
def test_what_a_text_has_behind_a_link_is_ignored(
    after: str, client: FlaskClient, link: str, database: Database
) -> None:
    assert "Unsubscribe?" in client.get(link + after).text
    assert client.post(link + after).status_code == 200
    assert status(database) == "unsubscribed"


def test_the_link_of_an_earlier_version_works_cut_and_whole(
    client: FlaskClient, settings: Settings, database: Database
) -> None:
    tokens = unsubscribe_tokens(settings, database)
    cut = (number for number in range(2, 10_000) if tokens._signed(number.to_bytes(8, "big"), b"").endswith(b"-"))
    number = next(cut)
    database.connection.execute("UPDATE recipients SET recipient_id = :number", number=number)
    token = tokens._signed(number.to_bytes(8, "big"), b"").decode()
    for path in (f"/unsubscribe/{token}", f"/unsubscribe/{token.rstrip('-')}", f"/unsubscribe/{token.rstrip('-')}."):
        assert "Unsubscribe?" in client.get(path).text
    assert client.post(f"/unsubscribe/{token.rstrip('-')}").status_code == 200
    assert status(database) == "unsubscribed"
