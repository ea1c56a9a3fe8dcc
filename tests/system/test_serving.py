"""The whole service, as `./start_flask.sh` runs it: its parts start and stop together. Also the demo."""

from __future__ import annotations

import os
import re
import signal
import socket
import sqlite3
import time
from contextlib import closing
from functools import partial
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.support.service import Service, give_venv, linux_only, started, wait_until

pytestmark = linux_only
FIELDS = b"event_id=7&email_subject=a&email_content=b&timestamp=2090-01-01+00%3A00%3A00"


@pytest.fixture
def project(project_copy: Path) -> Path:
    give_venv(project_copy)
    return project_copy


@pytest.fixture
def port(free_port: int) -> str:
    return str(free_port)


def fails(project: Path, *arguments: str, **environ: str) -> list[str]:
    """Return the output of a start that must fail."""
    with started(project, *arguments, **environ) as service:
        assert service.process.wait(60) == 1, service.output
        assert service.leaves_nothing()
        return service.output.splitlines()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_stop_that_is_asked_for_ends_everything(project: Path, port: str, number: int) -> None:
    with started(project, PORT=port) as service:
        assert service.has_printed(f"Running at http://127.0.0.1:{port}"), service.output
        assert "saved in outbox" in service.output
        assert len(service.processes()) == 4  # supervisor, granian and its worker, sender
        assert service.stop(number) == 0
        assert service.leaves_nothing(0)
        assert "Traceback" not in service.output


def test_a_start_takes_the_rights_of_others_on_the_env_file_away_and_prints_any_name(project: Path, port: str) -> None:
    (project / ".env").write_text("SENDERS=2\n")
    (project / ".env").chmod(0o644)
    with started(project, PORT=port, PYTHONIOENCODING="cp1252", EMAIL_URL="maildir:例") as service:
        assert service.has_printed(f"Running at http://127.0.0.1:{port}"), service.output
        assert service.has_printed("saved in \\u4f8b"), service.output
        assert f"{project}/.env was accessible to other users (mode 644). Its mode is now 600." in service.output
        assert (project / ".env").stat().st_mode & 0o777 == 0o600
        assert service.stop() == 0


def test_a_stop_that_comes_before_the_workers_serve_ends_everything_at_once(project: Path, port: str) -> None:
    for _ in range(3):
        with started(project, PORT=port, WEB_WORKERS="2") as service:
            assert wait_until(partial(has_processes, service, 5)), service.output
            assert service.stop() == 0
            assert service.leaves_nothing(0)


def test_the_death_of_the_sender_ends_all_and_says_so(project: Path, port: str) -> None:
    with started(project, PORT=port, WEB_WORKERS="2") as service:
        assert service.has_printed("Running at "), service.output
        os.kill(service.pid_of("sender"), signal.SIGKILL)
        assert service.process.wait(60) == 1
        assert service.leaves_nothing(0)
        assert "The sender " in service.output
        assert "Shutting down." in service.output


def test_a_web_server_that_dies_is_started_again_and_the_sender_goes_on(project: Path, port: str) -> None:
    with started(project, PORT=port) as service:
        assert service.has_printed("Running at "), service.output
        sender = service.pid_of("sender")
        os.kill(service.pid_of("web"), signal.SIGKILL)
        assert service.has_printed("The web server was killed by signal 9. Restarting it"), service.output
        assert wait_until(lambda: answers(int(port))), service.output
        assert service.pid_of("sender") == sender
        assert service.stop() == 0
        assert service.leaves_nothing(0)


def test_a_worker_of_the_web_server_that_is_stuck_is_replaced(project: Path, port: str) -> None:
    file = project / "serving" / "heartbeats.py"
    file.write_text(file.read_text().replace("STUCK_TIMEOUT = 30.0", "STUCK_TIMEOUT = 2.5"))
    with started(project, PORT=port) as service:
        assert service.has_printed("Running at "), service.output
        worker = service.pid_of("worker")
        os.kill(worker, signal.SIGSTOP)
        assert wait_until(lambda: worker not in service.processes()), service.output
        assert wait_until(lambda: answers(int(port))), service.output
        assert "A worker of the web server stopped responding" in service.output
        assert service.stop() == 0


def test_a_web_server_that_never_came_up_ends_the_start(project: Path, port: str) -> None:
    (project / "serving" / "web_server.py").write_text("raise SystemExit('broken')\n")
    with started(project, PORT=port) as service:
        assert service.process.wait(60) == 1
        assert "The web server exited with code 1" in service.output
        assert service.leaves_nothing(0)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_worker_of_the_web_server_that_is_killed_is_replaced_and_all_goes_on(
    project: Path, port: str, workers: str
) -> None:
    with started(project, PORT=port, WEB_WORKERS=workers) as service:
        assert service.has_printed("Running at "), service.output
        before = service.processes()
        killed = service.pid_of("worker")
        os.kill(killed, signal.SIGKILL)
        assert wait_until(lambda: len(service.processes().keys() - {killed}) == len(before)), service.processes()
        assert set(before) - {killed} < set(service.processes())
        assert wait_until(lambda: answers(int(port)))
        assert service.stop() == 0
        assert service.leaves_nothing(0)


def has_processes(service: Service, count: int) -> bool:
    return len(service.processes()) == count


def answers(port: int) -> bool:
    """Return whether a new connection is served."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False


@pytest.mark.parametrize("parts", [["supervisor"], ["supervisor", "web"], ["web", "supervisor", "sender"]])
def test_the_death_of_the_supervisor_ends_all_whoever_else_dies(project: Path, port: str, parts: list[str]) -> None:
    with started(project, PORT=port, WEB_WORKERS="2") as service:
        assert service.has_printed("Running at "), service.output
        for pid in [service.pid_of(part) for part in parts]:
            os.kill(pid, signal.SIGKILL)
        assert service.leaves_nothing(), service.processes()


def test_a_request_in_flight_is_finished_before_the_end(project: Path, port: str) -> None:
    with started(project, PORT=port) as service:
        assert service.has_printed("Running at "), service.output
        with socket.create_connection(("127.0.0.1", int(port)), 10) as client:
            head = b"POST /send-emails HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(FIELDS)
            kind = b"Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n\r\n"
            client.sendall(head + kind + FIELDS[:20])
            time.sleep(0.5)  # let a thread start reading it
            service.process.terminate()
            assert service.has_printed("Stopping"), service.output
            client.sendall(FIELDS[20:])
            assert b"Successful" in client.makefile("rb").read()
        assert service.process.wait(60) == 0
    with sqlite3.connect(project / "email.db") as database:
        assert database.execute("SELECT event_id FROM emails").fetchall() == [(7,)]
    database.close()


def test_a_second_stop_does_not_wait(project: Path, port: str) -> None:
    with started(project, PORT=port) as service:
        assert service.has_printed("Running at "), service.output
        with socket.create_connection(("127.0.0.1", int(port)), 10) as client:
            client.sendall(b"POST /send-emails HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n")
            client.sendall(b"Content-Type: application/x-www-form-urlencoded\r\n\r\n")
            time.sleep(0.5)
            service.process.terminate()
            assert service.has_printed("Stopping"), service.output
            assert service.process.poll() is None
            assert service.stop() == 1
        assert service.leaves_nothing(0)
        assert "was killed" in service.output


def test_a_port_that_is_taken_is_one_line_with_the_remedy(project: Path, port: str) -> None:
    with socket.create_server(("127.0.0.1", int(port))):
        (line,) = fails(project, "--demo", PORT=port)
    assert line.startswith(f"Port {port} on 127.0.0.1 is already in use")
    assert line.endswith("PORT=5001 ./start_flask.sh --demo")


def test_the_address_may_stand_in_the_settings_file(project: Path, port: str) -> None:
    (project / ".env").write_text(f"HOST=127.0.0.2\nPORT={port}\n")
    (project / ".env").chmod(0o600)
    with started(project) as service:
        assert service.has_printed(f"Running at http://127.0.0.2:{port}."), service.output


def test_two_services_never_share_a_port(project: Path, port: str) -> None:
    with started(project, PORT=port) as service:
        assert service.has_printed("Running at "), service.output
        (line,) = fails(project, PORT=port)
        assert "is already in use" in line
        assert service.stop() == 0


def test_everything_that_is_wrong_is_said_at_once_a_line_for_each(project: Path) -> None:
    lines = fails(project, SENDERS="0", TIMEZONE="Mars", PORT="http", API_TOKEN="hunter2")
    assert [re.split("[= ]", line)[0] for line in lines] == ["TIMEZONE", "API_TOKEN", "SENDERS", "PORT"]
    assert "hunter2" not in "".join(lines)


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({"PORT": "0"}, "PORT='0': allowed: "),
        ({"PORT": "65536"}, "PORT='65536': allowed: "),
        ({"HOST": "no.such.host.invalid"}, "HOST='no.such.host.invalid': allowed: "),
        ({"HOST": "192.0.2.1"}, "HOST='192.0.2.1' is not an address of this machine"),
        ({"DATABASE_URL": "sqlite:////proc/nothing/email.db"}, "/proc/nothing"),
    ],
)
def test_a_place_that_cannot_be_used_is_one_line(project: Path, environ: dict[str, str], text: str) -> None:
    (line,) = fails(project, **environ)
    assert text in line


def test_an_open_address_without_a_token_is_remarked_on(project: Path, port: str) -> None:
    with started(project, PORT=port, HOST="0.0.0.0") as service:
        assert service.has_printed("API_TOKEN is not set"), service.output
        assert f"http://127.0.0.1:{port}" in service.output
        assert service.stop() == 0


def demo_lateness(service: Service) -> list[float]:
    assert service.has_printed("Demo: done"), service.output
    return [float(text) for text in re.findall(r"delivered (\S+) s after its due time", service.output)]


def test_the_demo_delivers_each_message_at_its_second_and_runs_again(project: Path, port: str) -> None:
    for run in (1, 2):
        with started(project, "--demo", PORT=port) as service:
            lateness = demo_lateness(service)
            assert len(lateness) == 3
            assert all(0 <= late < 3 for late in lateness), lateness
            for name in re.findall("demo/outbox/new/.*", service.output):
                assert (project / name).read_bytes()
            assert len(list((project / "demo" / "outbox" / "new").iterdir())) == 3 * run
            assert service.stop() == 0
            assert service.leaves_nothing(0)


def test_the_demo_touches_nothing_real(project: Path, port: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as smtp:
        smtp.settimeout(0.1)
        url = f"smtp://127.0.0.1:{smtp.getsockname()[1]}"
        (project / ".env").write_text(f"EMAIL_URL={url}\nAPI_TOKEN={'t' * 20}\nTIMEZONE=Europe/Berlin\nHOST=0.0.0.0\n")
        (project / ".env").chmod(0o600)
        before = set(project.iterdir())
        with started(project, "--demo", PORT=port, DATABASE_URL="sqlite:///real.db", EMAIL_URL_FILE="real") as service:
            assert len(demo_lateness(service)) == 3
            assert service.stop() == 0
        with pytest.raises(TimeoutError):
            smtp.accept()
    made = set(project.iterdir()) - before
    assert {path.name for path in made} - {"__pycache__"} == {"demo"}
