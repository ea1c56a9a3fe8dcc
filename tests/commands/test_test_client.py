"""The sample client, with and without a server."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from database import open_database
from settings import Settings, load_settings
from tests.support import new_database
from tests.support.environment import CLEAN_ENVIRONMENT
from tests.support.ports import unused_port
from tests.support.servers.web_server import serve

CLIENT = Path(__file__).resolve().parents[2] / "test_client.py"


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    # -I: only the standard library, as on a machine to which only this file was copied.
    command = [sys.executable, "-I", "-X", "utf8", str(CLIENT), *arguments]
    return subprocess.run(command, capture_output=True, encoding="utf-8", env=CLEAN_ENVIRONMENT | environment)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    settings = load_settings({}, tmp_path_factory.mktemp("server"))
    new_database.create(settings, datetime.now(UTC))
    return settings


@pytest.fixture(scope="module")
def url(settings: Settings) -> Iterator[str]:
    """Return the URL of a real server on the database of these settings."""
    with serve(settings.folder, unused_port()) as server:
        yield f"http://127.0.0.1:{server.port}"


def test_a_real_server_gives_every_answer_as_it_should(settings: Settings, url: str) -> None:
    with open_database(settings) as database:
        database.connection.execute("DELETE FROM emails")
    first, second = run(url), run(url, "--send")
    assert (first.returncode, first.stderr) == (0, "") and (second.returncode, second.stderr) == (0, "")
    assert "Größe 日本語 😀" in first.stdout and "UNEXPECTED" not in first.stdout + second.stdout
    with open_database(settings) as database:
        due = [row[0] for row in database.connection.fetch_all("SELECT due_at FROM emails ORDER BY due_at")]
    assert len(due) == 5
    assert due[0] < time.time() and all(time.time() + 10**9 < later for later in due[1:])


def test_a_server_with_a_token(tmp_path: Path, free_port: int) -> None:
    new_database.create(load_settings({}, tmp_path), datetime.now(UTC))
    with serve(tmp_path, free_port, API_TOKEN="the-token-of-this-test") as server:
        url = f"http://127.0.0.1:{server.port}/"
        right, none, wrong = run(url, "--token", "the-token-of-this-test"), run(url), run(url, "--token", "another")
        (tmp_path / "token").write_text("the-token-of-this-test\n")
        by_file, no_file = (run(url, "--token-file", str(tmp_path / name)) for name in ("token", "none"))
    assert right.returncode == 0 and " 401 " in right.stdout
    assert by_file.returncode == 0 and " 401 " in by_file.stdout
    assert no_file.returncode == 2 and "No such file" in no_file.stderr
    for refused in (none, wrong):
        assert refused.returncode == 1 and "--token" in refused.stderr and refused.stderr.count("\n") == 1


def test_no_server_is_one_clear_line(free_port: int) -> None:
    for url in (f"http://127.0.0.1:{free_port}", "http://host.invalid"):
        answer = run(url)
        assert (answer.returncode, answer.stdout) == (1, "")
        assert answer.stderr.startswith(f"No response from {url} (") and answer.stderr.count("\n") == 1


@pytest.mark.parametrize("url", ["127.0.0.1:5000", "ftp://host", "http://", "http://host:port", "http://host:99999"])
def test_a_url_that_is_none_is_refused(url: str) -> None:
    answer = run(url)
    assert answer.returncode == 2 and "url" in answer.stderr and "Traceback" not in answer.stderr


class AlwaysSuccessful(BaseHTTPRequestHandler):
    """A server that breaks the contract."""

    def do_POST(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"Successful")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


def test_a_server_that_breaks_the_contract_is_found_out() -> None:
    with HTTPServer(("127.0.0.1", 0), AlwaysSuccessful) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        answer = run(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
    assert answer.returncode == 1
    assert "UNEXPECTED: the Content-Type should be text/plain" in answer.stdout
    assert "UNEXPECTED: the status should be 400" in answer.stdout


def test_a_terminal_that_cannot_show_a_character_does_not_stop_it(url: str) -> None:
    command = [sys.executable, str(CLIENT), url]
    answer = subprocess.run(command, capture_output=True, env=CLEAN_ENVIRONMENT | {"PYTHONIOENCODING": "ascii"})
    assert answer.returncode == 0 and b"\\u65e5" in answer.stdout


def test_a_reader_that_closes_the_pipe_is_not_mistaken_for_a_server_that_is_down(url: str) -> None:
    command = [sys.executable, "-u", str(CLIENT), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=CLEAN_ENVIRONMENT) as client:
        assert client.stdout is not None and client.stderr is not None
        client.stdout.readline()
        client.stdout.close()
        assert client.stderr.read() == b""
