"""Many clients that stall in any phase of a request at once: all others are served."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice

import pytest

from database import Address
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.servers.web_server import FORM, PROJECT, Answer, Server
from tests.support.service import linux_only, wait_until
from tests.support.warm_python import is_readable
from tests.support.web.forms import csrf_token
from web.body_limits import MAX_DOWNLOADS

pytestmark = linux_only
TOKEN = "a-token-of-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
MANY = 60
MAX_REFUSALS = 10
RECIPIENTS = 120_000  # as CSV, more than the buffers of a connection hold
URLENCODED = "Content-Type: application/x-www-form-urlencoded\r\n"


def head(line: str, headers: str = "", token: str = TOKEN) -> bytes:
    authorization = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"{line} HTTP/1.1\r\nHost: localhost\r\n{authorization}{headers}".encode()


FORM_HEAD = head("POST /send-emails", URLENCODED + "Content-Length: 5000\r\n\r\n")
PHASES = {
    "connecting": b"",
    "headers": head("GET /"),
    "body": FORM_HEAD + b"event_id=",
    "body before it begins": FORM_HEAD,
    "chunked body": head("POST /api/emails", "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    + b"5\r\n[1,2,\r\n",
    "body behind another request": head("GET /healthz", "\r\n") + FORM_HEAD + b"event_id=",
    "body of the login": head("POST /login", URLENCODED + "Content-Length: 900\r\n\r\n", "") + b"token=",
    "refused body": head("POST /send-emails", URLENCODED + "Content-Length: 900\r\n\r\n", "") + b"event_id=",
    "answer": head("GET /api/recipients?format=csv", "\r\n"),
    "page": head("GET /recipients", "Accept: text/html\r\n\r\n"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run the web server as the service does."""
    folder = tmp_path_factory.mktemp("served")
    installation = Installation(folder, API_TOKEN=TOKEN)
    with installation.database() as database:
        texts = [f"a-recipient-of-the-tests-{number}@example.com" for number in range(RECIPIENTS)]
        database.recipients.add([Address(text, text) for text in texts], datetime.now(UTC))
    port, log = unused_port(), folder / "server.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "serving.part", "web", "127.0.0.1", str(port)]
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=installation.environment,
            stdin=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
        )
    try:
        assert wait_until(lambda: process.poll() is not None or is_up(port)), log.read_text()
        yield Server("127.0.0.1", port, log, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def is_up(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def stalled(server: Server, *requests: bytes, number: int = MANY) -> Iterator[list[socket.socket]]:
    """Open many clients that send the start of a request, then neither send nor read."""
    connections = []
    try:
        for request in requests * number:
            connection = socket.socket()
            connections.append(connection)
            connection.settimeout(10)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            connection.connect((server.host, server.port))
            connection.sendall(request)
        yield connections
    finally:
        for connection in connections:
            connection.close()


@contextmanager
def trickling(connections: list[socket.socket]) -> Iterator[None]:
    """Send a byte on each connection now and then."""
    ended = threading.Event()

    def trickle() -> None:
        while not ended.wait(0.2):
            for connection in connections:
                with suppress(OSError):
                    connection.send(b"x")

    thread = threading.Thread(target=trickle)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def soon(request: Callable[[], Answer]) -> Answer:
    """Check that a response arrives within a time that is too short if all threads wait for clients."""
    began = time.monotonic()
    answer = request()
    assert time.monotonic() - began < 5
    return answer


def post(server: Server) -> Answer:
    fields = {
        "event_id": time.time_ns(),
        "email_subject": "a",
        "email_content": "b",
        "timestamp": "2090-01-01 00:00:00",
    }
    return server.post(fields, **BEARER)


def assert_served(server: Server) -> None:
    assert soon(lambda: server.request("GET", "/healthz")).status == 200
    assert soon(lambda: server.request("GET", "/", headers={"Accept": "text/html", **BEARER})).status == 200
    # Those that arrive with the flood may be refused: more of them on a busy machine, where a client is cut off late.
    answers = iter(lambda: soon(lambda: post(server)).body, "Successful")
    assert len(list(islice(answers, MAX_REFUSALS))) < MAX_REFUSALS


@pytest.mark.parametrize("phase", PHASES)
def test_clients_that_stall_keep_nobody_else_from_being_served(server: Server, phase: str) -> None:
    with stalled(server, PHASES[phase]):
        assert_served(server)


def test_clients_that_stall_in_all_phases_at_once_keep_nobody_else_from_being_served(server: Server) -> None:
    with stalled(server, *PHASES.values(), number=20):
        assert_served(server)


def test_a_body_that_stalls_is_ended_with_an_answer_when_its_place_is_needed(server: Server) -> None:
    with stalled(server, PHASES["body"]) as connections:
        assert_served(server)
        answers = [connection.recv(1000) for connection in connections if has_answer(connection)]
        assert {answer.split(b" ")[1] for answer in answers} == {b"408", b"503"}


def has_answer(connection: socket.socket) -> bool:
    return is_readable(connection, 0)


def test_bodies_that_trickle_in_keep_nobody_else_from_being_served(server: Server) -> None:
    with stalled(server, PHASES["body"]) as connections, trickling(connections):
        assert_served(server)


def test_strangers_that_trickle_into_the_login_lock_nobody_out(server: Server) -> None:
    form = server.request("GET", "/login", headers={"Accept": "text/html"})
    cookie = form.headers["set-cookie"].partition(";")[0]
    body = f"token={TOKEN}&csrf_token={csrf_token(form.body)}".encode()
    with stalled(server, PHASES["body of the login"]) as connections, trickling(connections):
        answers = [soon(lambda: server.request("POST", "/login", body, {**FORM, "Cookie": cookie})) for _ in range(3)]
        assert 303 in {answer.status for answer in answers}


def test_of_large_answers_a_few_are_sent_at_a_time_and_who_reads_none_gives_way(server: Server) -> None:
    with stalled(server, PHASES["answer"], number=3 * MAX_DOWNLOADS) as connections:
        answers = [connection.recv(2000) for connection in connections]
        assert sum(answer.startswith(b"HTTP/1.1 200 ") for answer in answers) <= MAX_DOWNLOADS
        refused = [answer for answer in answers if answer.startswith(b"HTTP/1.1 503 ")]
        assert refused and all(b"\r\nretry-after: " in answer.lower() for answer in refused)
        assert wait_until(lambda: server.request("GET", "/api/recipients?format=csv", headers=BEARER).status == 200)


def test_a_slow_client_that_makes_progress_is_not_cut_off_with_those_who_stall(server: Server) -> None:
    content = b"x" * 40_000
    body = b"event_id=%d&email_subject=a&timestamp=2090-01-01+00%%3A00%%3A00&email_content=" % time.time_ns() + content
    with socket.create_connection((server.host, server.port)) as client:
        client.settimeout(10)
        client.sendall(head("POST /send-emails", URLENCODED + f"Content-Length: {len(body)}\r\n\r\n") + body[:1000])
        assert_served(server)  # by now it has a slot
        with stalled(server, PHASES["body"]) as connections:
            for start in range(1000, len(body), 1_000):
                client.sendall(body[start : start + 1_000])
                connections[-1].settimeout(0.05)  # as on a slow network
                with suppress(TimeoutError):
                    connections[-1].recv(1)
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
