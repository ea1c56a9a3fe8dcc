"""Access control, and the headers of every response."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from email_app import create_app
from settings import Settings
from tests.support.samples.invalid_values import short
from tests.support.servers.web_server import serve
from web.auth.access import OPEN_ENDPOINTS, is_token
from web.auth.rate_limits import WRONG_TOKENS_PER_MINUTE
from web.middleware import HEADERS

TOKENS = ("first-token", "zweites-Tökén")
EVERYTHING_MISSING = "Missing fields: event_id, email_subject, email_content, timestamp"
MakeClient = Callable[..., FlaskClient]


@pytest.fixture
def make_client(settings: Settings) -> MakeClient:
    """Return a client of an application with these settings."""

    def make(**changes: object) -> FlaskClient:
        return create_app(settings._replace(**changes)).test_client()  # type: ignore[arg-type]

    return make


def post(client: FlaskClient, address: str = "127.0.0.1", **headers: str) -> TestResponse:
    """Post an empty form. The response is 400 if access is allowed."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/send-emails", headers=named, environ_overrides={"REMOTE_ADDR": address})


def rules(app: Flask) -> Iterator[tuple[Rule, str, str]]:
    """Return every route with an address and a method."""
    for rule in app.url_map.iter_rules():
        for method in sorted(rule.methods or ()):
            values = {name: "read" if name == "step" else 1 for name in rule.arguments}
            with app.test_request_context():
                address = app.url_map.bind("localhost").build(rule.endpoint, values, method=method)
            yield rule, address, method


def test_every_route_is_closed_unless_it_is_listed(make_client: MakeClient) -> None:
    client = make_client(api_tokens=TOKENS)
    seen = 0
    for rule, address, method in rules(client.application):
        answer = client.open(address, method=method)
        assert (answer.status_code == 401) == (rule.endpoint not in OPEN_ENDPOINTS), (rule, method)
        seen += 1
    assert seen


def test_every_route_is_closed_to_other_machines_without_a_token_of_its_own(make_client: MakeClient) -> None:
    client = make_client()
    for rule, address, method in rules(client.application):
        answer = client.open(address, method=method, environ_overrides={"REMOTE_ADDR": "192.0.2.7"})
        is_open = rule.endpoint in OPEN_ENDPOINTS and rule.rule != "/login"  # where no login is needed
        assert (answer.status_code == 403) != is_open, (rule, method)


def test_what_is_open_exists(make_client: MakeClient) -> None:
    assert {rule.endpoint for rule in make_client().application.url_map.iter_rules()} >= OPEN_ENDPOINTS


WRONG_PATHS = (
    "/send-emails/",
    "/Send-Emails",
    "/send-emails//",
    "/nothing",
    "/api/",
    "/emails/1/x",
    "/recipients/1/",
    "/emails/abc/cancel",
    "/emails/1%20/reschedule",
    "/..%2f",
)


@pytest.mark.parametrize("path", WRONG_PATHS)
def test_a_wrong_path_is_404_whoever_asks_and_however(make_client: MakeClient, path: str) -> None:
    stranger, owner = make_client(api_tokens=TOKENS, rate_limit=1), make_client()
    other_site = {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "cross-site", "Host": "elsewhere.example"}
    bad = {"Content-Type": "application/x-www-form-urlencoded; charset=ebcdic", "Authorization": "Bearer wrong"}
    for client, address in ((stranger, "127.0.0.1"), (owner, "127.0.0.1"), (owner, "192.0.2.7")):
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
            for headers in ({}, other_site, bad, {"Accept": "text/html"}):
                overrides = {"REMOTE_ADDR": address}
                answer = client.open(path, method=method, data=b"%", headers=headers, environ_overrides=overrides)
                assert answer.status_code == 404, (method, headers, address)
                assert "WWW-Authenticate" not in answer.headers
                assert client is owner or "<nav" not in answer.text


@pytest.mark.parametrize("path", ["/", "/health", "/emails/1", "/outbox", "/docs"])
def test_a_wrong_method_is_405_and_no_word_of_csrf(make_client: MakeClient, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "BREW"):
        answer = make_client().open(path, method=method, data={"a": "b"})
        assert answer.status_code == 405 and "CSRF" not in answer.text and "GET" in answer.headers["Allow"], method


def test_a_path_that_exists_stays_closed_to_strangers(make_client: MakeClient) -> None:
    client = make_client(api_tokens=TOKENS)
    assert {client.get(path).status_code for path in ("/", "/send-emails", "/api/emails", "/emails/1")} == {401}


def test_someone_who_guesses_tokens_at_wrong_paths_learns_nothing(make_client: MakeClient) -> None:
    client = make_client(api_tokens=TOKENS)
    for _ in range(2 * WRONG_TOKENS_PER_MINUTE):
        client.get("/nothing", headers={"Accept": "text/html", "Authorization": "Bearer wrong"})
    headers = {"Accept": "text/html", "Authorization": "Bearer first-token"}
    answer = client.get("/nothing", headers=headers)
    assert answer.status_code == 404 and "<nav" not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
@pytest.mark.parametrize("token", TOKENS)
def test_each_token_opens(make_client: MakeClient, token: str, scheme: str) -> None:
    header = f"{scheme} {token}".encode().decode("latin-1")  # as a server passes the bytes on
    answer = post(make_client(api_tokens=TOKENS), Authorization=header)
    assert (answer.status_code, answer.text) == (400, EVERYTHING_MISSING)


def test_a_token_opens_to_any_machine_through_any_proxy(make_client: MakeClient) -> None:
    answer = post(
        make_client(api_tokens=TOKENS),
        "192.0.2.7",
        Authorization="Bearer first-token",
        X_Forwarded_For="198.51.100.1",
        Origin="https://elsewhere.example",
        Host="mail.example.com",
    )
    assert answer.status_code == 400


@pytest.mark.parametrize(
    "header",
    [
        *(None, "", "Bearer", "Bearer ", "Bearer  ", "Bearer wrong", "Bearer first-token2", "Bearer first-toke"),
        *("first-token", "Basic first-token", "Bearer First-Token", "Bearer first-token,second", "Bearer None"),
        *("Bearer first-token first-token", "Bearer\tfirst-token", "\xff\xfe", "Bearer t\xf6k\xe9n", "Bearer \u0141"),
        "Bearer " + "x" * 1_000_000,
    ],
    ids=short,
)
def test_without_a_token_nobody_is_served(make_client: MakeClient, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = post(make_client(api_tokens=TOKENS), **headers)
    assert answer.status_code == 401 and answer.text.startswith("Error: ")
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="email endpoint"'


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    "host", ["localhost", "localhost:5000", "LOCALHOST", "localhost.", "127.0.0.1:80", "[::1]:5000", "127.1.2.3"]
)
def test_with_no_token_set_a_program_on_this_machine_is_served(
    make_client: MakeClient, address: str, host: str
) -> None:
    assert post(make_client(), address, Host=host).text == EVERYTHING_MISSING


@pytest.mark.parametrize(
    "address", ["192.0.2.7", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.7", "", "unix:", "0.0.0.0"]
)
def test_with_no_token_set_another_machine_is_not(make_client: MakeClient, address: str) -> None:
    answer = post(make_client(), address)
    assert answer.status_code == 403 and "API_TOKEN" in answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Forwarded_For": "127.0.0.1"},
        {"X_Forwarded_Proto": "https"},
        {"X_Forwarded_Host": "localhost"},
        {"X_Forwarded": "x"},
        {"Forwarded": "for=127.0.0.1"},
        {"X_Real_IP": "127.0.0.1"},
        {"Via": "1.1 proxy"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "https://localhost"},
        {"Host": "elsewhere.example"},
        {"Host": "localhost.elsewhere.example"},
        {"Host": "127.0.0.1.elsewhere.example"},
        {"Host": "user@elsewhere.example"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Host": "192.0.2.7"},
    ],
)
@pytest.mark.parametrize("proxies", [0, 1])
def test_with_no_token_set_what_others_pass_on_is_refused(
    make_client: MakeClient, headers: dict[str, str], proxies: int
) -> None:
    answer = post(make_client(trusted_proxies=proxies), **headers)
    assert answer.status_code == 403 and "API_TOKEN" in answer.text


def test_the_services_own_page_may_post(make_client: MakeClient) -> None:
    assert post(make_client(), Host="localhost:5000", Origin="http://localhost:5000").status_code == 400


def test_a_proxy_is_believed_only_as_far_as_it_is_trusted(make_client: MakeClient) -> None:
    seen: list[str | None] = []

    def note_address() -> str:
        seen.append(request.remote_addr)
        return ""

    for proxies in (0, 1, 2):
        client = make_client(api_tokens=TOKENS, trusted_proxies=proxies)
        client.application.add_url_rule("/seen", view_func=note_address)
        headers = {"X-Forwarded-For": "1.1.1.1, 2.2.2.2", "Authorization": "Bearer first-token"}
        client.get("/seen", headers=headers)
    assert seen == ["127.0.0.1", "2.2.2.2", "1.1.1.1"]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        *[(f"mail.example.com{end}", 400) for end in ("", ":443", ".", ".:443")],
        *[(host, 400) for host in ("localhost:5000", "localhost.", "evil.example", "evil.example.")],
        *[(f"mail.example.com{end}", 400) for end in ("..", ".evil.example")],
    ],
)
def test_once_the_services_name_is_known_no_other_is_answered(make_client: MakeClient, host: str, status: int) -> None:
    client = make_client(api_tokens=TOKENS, public_url="https://mail.example.com")
    answer = post(client, Authorization="Bearer first-token", Host=host)
    assert answer.status_code == status
    assert ("PUBLIC_URL" in answer.text) == ("evil" in host or ".." in host)


@pytest.mark.parametrize(
    ("path", "method", "headers", "status"),
    [
        ("/send-emails", "POST", {}, 400),
        ("/send-emails", "GET", {}, 405),
        ("/nothing", "GET", {}, 404),
        ("/send-emails", "POST", {"Content-Type": "text/csv"}, 415),
        ("/send-emails", "POST", {"Host": "elsewhere.example"}, 403),
        ("/broken", "GET", {}, 500),
    ],
)
def test_every_answer_has_the_headers(
    make_client: MakeClient, path: str, method: str, headers: dict[str, str], status: int
) -> None:
    client = make_client()
    client.application.add_url_rule("/broken", view_func=lambda: str(1 // 0))
    answer = client.open(path, method=method, headers=headers, data=b"x" if status == 415 else None)
    assert answer.status_code == status and answer.content_type == "text/plain; charset=utf-8"
    assert HEADERS.items() <= {**answer.headers}.items()
    assert "Strict-Transport-Security" not in answer.headers


def test_every_route_answers_with_the_headers_whoever_asks(make_client: MakeClient) -> None:
    stranger, owner = make_client(api_tokens=TOKENS), make_client()
    for client in (stranger, owner):
        for rule, address, method in rules(client.application):
            answer = client.open(address, method=method)
            missing = {name for name in HEADERS if name not in answer.headers}
            assert not missing and "X-Request-Id" in answer.headers, (rule, method)
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy and "unsafe" not in policy, (rule, method)


def test_how_long_a_wrong_token_takes_tells_nothing_about_the_right_ones() -> None:
    """The tokens are so long that a comparison which stops at the first difference would be noticeable."""
    size = 5_000_000
    tokens = ("a" * size, "b" * size)
    wrong = {"first": b"x" + b"a" * (size - 1), "last": b"a" * (size - 1) + b"x", "other": b"x" * size}
    times: dict[str, list[float]] = {name: [] for name in wrong}
    for _ in range(15):
        for name, octets in wrong.items():
            began = time.thread_time()
            assert not is_token(octets, tokens)
            times[name].append(time.thread_time() - began)
    shortest = [min(each) for each in times.values()]  # other processes can only add to a time
    assert max(shortest) < 1.5 * min(shortest), times


def test_behind_tls_browsers_are_told_to_stay_there(make_client: MakeClient) -> None:
    answer = make_client(api_tokens=TOKENS, trusted_proxies=1).get("/", headers={"X-Forwarded-Proto": "https"})
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_the_token_is_looked_at_before_the_body_is_read(tmp_path: Path, free_port: int) -> None:
    head = b"POST /send-emails HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
    with serve(tmp_path, free_port, API_TOKEN="first-token-of-two,other-token-of-two") as server:
        stalled = [socket.create_connection((server.host, server.port)) for _ in range(40)]
        for connection in stalled:
            connection.sendall(head + b"Content-Type: application/x-www-form-urlencoded\r\n\r\nevent_id=")
        start = time.monotonic()
        assert server.post({}, Authorization="Bearer other-token-of-two").body == EVERYTHING_MISSING
        assert time.monotonic() - start < 5
        assert all(b" 401 " in connection.recv(100) for connection in stalled)
        for connection in stalled:
            connection.close()


def test_odd_token_headers_are_refused_by_the_server_as_served(tmp_path: Path, free_port: int) -> None:
    head = b"POST /send-emails HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    with serve(tmp_path, free_port, API_TOKEN="the-only-token-here") as server:
        for value in (
            b"",
            b"Bearer \xff\xfe",
            b"Bearer the-only-token-here\r\nAuthorization: Bearer x",
            "Bearer tökén".encode(),
        ):
            assert b" 401 " in server.raw(head + b"Authorization: " + value + b"\r\n\r\n")
        assert b" 431 " in server.raw(head + b"Authorization: Bearer " + b"x" * 1_000_000 + b"\r\n\r\n")
        assert b" 400 " in server.raw(head + b"Authorization: Bearer the-only-token-here\r\n\r\n")


def test_ipv6_loopback_is_served_too(tmp_path: Path, free_port: int) -> None:
    with serve(tmp_path, free_port, host="::1") as server:
        assert server.post({}).body == EVERYTHING_MISSING
        assert server.post({}, Host="elsewhere.example").status == 403
