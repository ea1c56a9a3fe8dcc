"""The web server over real HTTP, run as in production, and a way to send it any bytes."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode

import pytest

from tests.support.environment import CLEAN_ENVIRONMENT
from tests.support.installation import Installation
from tests.support.ports import unused_port
from web.body_limits import THREADS

PROJECT = Path(__file__).resolve().parents[3]
TOKEN = "a-token-of-the-tests"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
# An empty value means the default, so that a local `.env` does not affect the tests.
DEFAULTS = dict.fromkeys(("API_TOKEN", "PUBLIC_URL", "TRUSTED_PROXIES", "MAX_BODY", "TIMEZONE", "SCHEDULER"), "")


class Answer(NamedTuple):
    """A response."""

    status: int
    body: str
    headers: Mapping[str, str]


class Server:
    """A running server."""

    def __init__(self, host: str, port: int, log: Path, process: subprocess.Popen[bytes]) -> None:
        self.host = host
        self.port = port
        self.log = log
        self.process = process

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request on a new connection."""
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=30)) as connection:
            connection.request(method, path, body, dict(headers or {}))
            with connection.getresponse() as response:
                return Answer(response.status, response.read().decode(), {**response.headers})

    def post(self, fields: Mapping[str, object], **headers: str) -> Answer:
        """POST a form to /send-emails."""
        return self.request("POST", "/send-emails", urlencode(fields).encode(), FORM | headers)

    def raw(self, request: bytes, close: bool = False) -> bytes:
        """Send these bytes, and return everything received until the server closes the connection."""
        with socket.create_connection((self.host, self.port), timeout=30) as connection:
            connection.sendall(request)
            if close:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(65_536), b""))

    def kill(self) -> None:
        """Kill the server and its workers at once, as a power cut would."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def serve(folder: Path, port: int, host: str = "127.0.0.1", **environment: str) -> Iterator[Server]:
    """Run a server whose database is `email.db` in `folder`."""
    database = {"DATABASE_URL": f"sqlite:///{folder / 'email.db'}"}
    command = [sys.executable, "-m", "granian", "--interface", "wsgi", "--factory", "email_app:create_app"]
    command += ["--workers", environment.get("WEB_WORKERS", "1"), "--blocking-threads", str(THREADS)]
    command += ["--host", host, "--port", str(port)]
    log = folder / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=PROJECT,
            env=CLEAN_ENVIRONMENT | DEFAULTS | database | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_it_serves(environment.get("WEB_WORKERS", "1"), (host, port), process, log)
        yield Server(host, port, log, process)
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the token TOKEN that all tests of a module share."""
    folder = tmp_path_factory.mktemp("served")
    Installation(folder)
    with serve(folder, unused_port(), API_TOKEN=TOKEN) as running:
        yield running


def _wait_until_it_serves(workers: str, place: tuple[str, int], process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait for all workers: one that is stopped while it starts ignores it. They log their start before they listen."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        if log.read_text().count("Started worker-") == int(workers) and _is_listened_at(place):
            return
        time.sleep(0.05)
    raise AssertionError(log.read_text())


def _is_listened_at(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place).close()
    except ConnectionRefusedError:
        return False
    return True
