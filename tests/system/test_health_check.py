"""The health checks of the containers: 0 while a part works, otherwise 1 and the reason."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from serving import health_check
from tests.support.installation import Installation
from tests.support.servers.redis_server import RedisInstallation, RedisServer
from tests.support.service import wait_until


class Answer(BaseHTTPRequestHandler):
    """A web server that answers 200 to `/healthz` and 503 to everything else, or the reverse if it is unhealthy."""

    is_ill = False

    def do_GET(self) -> None:
        self.send_response(200 if (self.path == "/healthz") is not self.is_ill else 503)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Suppress the log."""


@contextmanager
def web_server(handler: type[BaseHTTPRequestHandler], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setattr(health_check, "WEB_PORT", server.server_address[1])
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield
        server.shutdown()


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Return an installation whose settings are in the environment of this process."""
    installation = Installation(tmp_path)
    for name, value in installation.environment.items():
        monkeypatch.setenv(name, value)
    return installation


def check(part: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    return health_check.main([part]), capsys.readouterr().out


def test_a_web_server_is_healthy_while_it_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], free_port: int
) -> None:
    with web_server(Answer, monkeypatch):
        assert check("web", capsys) == (0, "")
    with web_server(type("Ill", (Answer,), {"is_ill": True}), monkeypatch):
        assert check("web", capsys) == (1, "the web server responds with status 503\n")
    monkeypatch.setattr(health_check, "WEB_PORT", free_port)
    assert check("web", capsys)[1].startswith("the web server does not respond: ")


def test_a_web_server_that_accepts_and_says_nothing_is_ill(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(health_check, "TIMEOUT_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(health_check, "WEB_PORT", server.getsockname()[1])
        assert check("web", capsys) == (1, "the web server does not respond: timed out\n")


def test_a_sender_is_healthy_while_it_looks_for_work(
    environment: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    with environment.database() as database:
        now = database.last_heartbeat_at()
        assert check("sender", capsys) == (0, "")
        database.record_heartbeat(now - 91)
    status, reason = check("sender", capsys)
    assert status == 1
    assert reason.startswith("the sender is not running (last check 1 min")


def test_a_sender_without_a_database_is_ill(environment: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    (environment.folder / "email.db").unlink()
    status, reason = check("sender", capsys)
    assert status == 1
    assert "email.db" in reason and "Traceback" not in reason


def test_the_parts_of_the_queue_are_healthy_while_they_work(
    installation: RedisInstallation,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    assert check("worker", capsys) == (1, "the RQ worker of this container is not running\n")
    assert check("scheduler", capsys) == (1, "rqscheduler is not running\n")
    with installation.queue():
        assert wait_until(lambda: health_check.main(["worker"]) == 0)
        assert wait_until(lambda: health_check.main(["scheduler"]) == 0)
        monkeypatch.setattr(socket, "gethostname", lambda: "another-container")
        assert health_check.main(["worker"]) == 1
    redis_server.kill()
    assert health_check.main(["worker"]) == 1
    assert "Traceback" not in capsys.readouterr().out


def test_an_unknown_part_is_a_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert health_check.main(["database"]) == 2
    assert "web|sender|worker|scheduler" in capsys.readouterr().err
