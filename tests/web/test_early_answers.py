"""Responses that are sent before the body was read reach clients that send the whole body first."""

from __future__ import annotations

import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.servers.web_server import FORM, TOKEN, Server, serve
from tests.support.service import linux_only
from web.body_limits import DISCARD_TIMEOUT, MAX_DISCARDED

pytestmark = linux_only
BEARER = {"Authorization": f"Bearer {TOKEN}"}
SIZES = (10_000_071, 12_000_000, 20_000_000, 30_000_000, 60_000_000)
Send = Callable[[Server, str, str, int, Mapping[str, str]], tuple[int, bytes]]


def by_http_client(server: Server, method: str, path: str, size: int, headers: Mapping[str, str]) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=30)) as connection:
        connection.request(method, path, bytes(size), dict(headers))
        with connection.getresponse() as answer:
            return answer.status, answer.read()


def by_urllib(server: Server, method: str, path: str, size: int, headers: Mapping[str, str]) -> tuple[int, bytes]:
    address = f"http://{server.host}:{server.port}{path}"
    request = urllib.request.Request(address, bytes(size), dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("send", [by_http_client, by_urllib])
def test_a_body_that_is_too_large_is_refused_in_words(server: Server, send: Send, size: int) -> None:
    status, body = send(server, "POST", "/send-emails", size, {**FORM, **BEARER})
    assert status == 413 and b"MAX_BODY" in body


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("POST", "/send-emails", FORM, 401),
        ("POST", "/send-emails", {"Authorization": "Bearer wrong"}, 401),
        ("PUT", "/api/emails/1", {}, 401),
        ("POST", "/nowhere", BEARER, 404),
        ("POST", "/api/nowhere", BEARER, 404),
        ("DELETE", "/send-emails", BEARER, 405),
        ("POST", "/api/emails", {**BEARER, "Content-Type": "text/plain"}, 415),
        ("POST", "/send-emails", {**FORM, **BEARER, "Content-Encoding": "gzip"}, 415),
        ("POST", "/api/emails/1/cancel", BEARER, 404),
        ("POST", "/login", {**FORM, "Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", "/login", FORM, 413),
        ("POST", "/unsubscribe/forged", FORM, 404),
        ("POST", "/recipients/import", {**FORM, "Accept": "text/html"}, 303),
        ("GET", "/healthz", {}, 200),
    ],
)
@pytest.mark.parametrize("send", [by_http_client])
def test_every_refusal_reaches_a_client_that_sends_first(
    server: Server, send: Send, method: str, path: str, headers: Mapping[str, str], status: int
) -> None:
    assert send(server, method, path, 12_000_000, headers)[0] == status


def test_too_many_requests_and_a_database_that_is_away_are_told_too(tmp_path: Path, free_port: int) -> None:
    with serve(tmp_path, free_port, API_TOKEN=TOKEN, RATE_LIMIT="2") as server:
        answers = [by_http_client(server, "POST", "/login", 12_000_000, FORM)[0] for _ in range(4)]
        assert answers == [503, 503, 429, 429]


def test_a_connection_is_used_again_after_a_refusal(server: Server) -> None:
    with closing(http.client.HTTPConnection(server.host, server.port, timeout=30)) as connection:
        for _ in range(3):
            connection.request("POST", "/nowhere", bytes(12_000_000), BEARER)
            with connection.getresponse() as answer:
                assert answer.status == 404 and answer.read()


def test_what_a_client_can_make_the_server_read_is_bounded(server: Server) -> None:
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        head = f"POST /send-emails HTTP/1.1\r\nHost: localhost\r\nContent-Length: {10 * MAX_DISCARDED}\r\n\r\n"
        connection.sendall(head.encode())
        sent, piece = 0, bytes(1_000_000)
        with pytest.raises(OSError):
            while True:
                connection.sendall(piece)
                sent += len(piece)
        assert sent < 2 * MAX_DISCARDED


def test_a_client_that_stalls_after_its_refusal_is_cut_off(server: Server) -> None:
    with socket.create_connection((server.host, server.port), timeout=30) as connection:
        connection.sendall(b"POST /send-emails HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nsome")
        began = time.monotonic()
        answer = b"".join(iter(lambda: connection.recv(1000), b""))  # header and body may arrive in two segments
        assert answer.startswith(b"HTTP/1.1 401 ")
        assert time.monotonic() - began < DISCARD_TIMEOUT + 10


def test_a_client_that_asks_before_it_sends_gets_its_answer_and_an_end(server: Server) -> None:
    head = b"POST /send-emails HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 1000\r\n\r\n"
    assert server.raw(head).startswith(b"HTTP/1.1 401 ")
