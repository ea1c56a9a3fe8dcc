"""Stalled request bodies, sent to the real server: other clients are still answered at once."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from settings import load_settings
from tests.support import new_database
from tests.support.servers.web_server import FORM, Answer, Server, serve
from tests.support.web.forms import csrf_token
from web import body_limits
from web.body_limits import THREADS

TOKEN = "the-only-token-here"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
MISSING = "Missing fields: event_id, email_subject, email_content, timestamp"
MANY = 80


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    new_database.create(load_settings({}, tmp_path), datetime.now(UTC))
    return tmp_path


@contextmanager
def stalled(server: Server, path: str, headers: str = "") -> Iterator[list[socket.socket]]:
    """Open many requests that stall in the middle of their bodies."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n{headers}"
    request = f"{head}Content-Type: {FORM['Content-Type']}\r\n\r\ntoken=".encode()
    connections = [socket.create_connection((server.host, server.port)) for _ in range(MANY)]
    for connection in connections:
        connection.sendall(request)
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


def quickly(answer: Answer, started: float) -> Answer:
    assert time.monotonic() - started < 2
    return answer


def get(server: Server) -> Answer:
    return quickly(server.request("GET", "/nothing", headers=BEARER), time.monotonic())


def post(server: Server) -> Answer:
    return quickly(server.request("POST", "/send-emails", b"", {**FORM, **BEARER}), time.monotonic())


def test_threads_are_left_when_all_seats_are_taken() -> None:
    permits = ("MAX_ANONYMOUS_READS", "MAX_AUTHENTICATED_READS", "MAX_DOWNLOADS", "MAX_DISCARDS")
    waiting = len(permits) * body_limits.MAX_WAITING
    assert sum(getattr(body_limits, name) for name in permits) + waiting < THREADS


def test_strangers_who_stall_hold_nobody_up(folder: Path, free_port: int) -> None:
    with serve(folder, free_port, API_TOKEN=TOKEN) as server, stalled(server, "/send-emails") as connections:
        assert get(server).status == 404
        assert all(b" 401 " in connection.recv(100) for connection in connections)


def test_strangers_who_stall_at_the_login_hold_nobody_up_who_has_a_token(folder: Path, free_port: int) -> None:
    with serve(folder, free_port, API_TOKEN=TOKEN) as server, stalled(server, "/login"):
        assert get(server).status == 404
        answer = server.post({}, **BEARER)
        assert (answer.status, answer.body) == (400, MISSING)


@pytest.mark.parametrize("token", [TOKEN, ""])
def test_clients_who_stall_leave_threads_to_others(folder: Path, free_port: int, token: str) -> None:
    headers = f"Authorization: Bearer {TOKEN}\r\n" if token else ""
    with serve(folder, free_port, API_TOKEN=token) as server, stalled(server, "/send-emails", headers):
        assert get(server).status == 404
        assert post(server).body == MISSING
        form = server.request("GET", "/login", headers={"Accept": "text/html"})
        assert form.status == (200 if token else 303)
        if token:
            assert _log_in(server, form).status == 303


def _log_in(server: Server, form: Answer) -> Answer:
    cookie = form.headers["set-cookie"].partition(";")[0]
    body = f"token={TOKEN}&csrf_token={csrf_token(form.body)}".encode()
    return server.request("POST", "/login", body, {**FORM, "Cookie": cookie})


def test_when_those_who_stalled_are_gone_all_is_as_before(folder: Path, free_port: int) -> None:
    with serve(folder, free_port, API_TOKEN=TOKEN) as server:
        with stalled(server, "/send-emails", f"Authorization: Bearer {TOKEN}\r\n"):
            assert get(server).status == 404
        time.sleep(1.5)
        for _ in range(3 * THREADS):
            assert server.post({}, **BEARER).body == MISSING
