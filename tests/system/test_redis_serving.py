"""`./start_flask.sh` with SCHEDULER=rq-scheduler: web server, rq worker and rqscheduler start and stop together."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from schedulers.redis_queue import WakeUps
from tests.support.installation import Installation
from tests.support.servers.smtp_server import ScriptedServer, Wait
from tests.support.service import Service, give_venv, linux_only, started, wait_until

if TYPE_CHECKING:
    from tests.support.servers.redis_server import RedisServer

pytestmark = linux_only
UTC_8 = timezone(timedelta(hours=8))


@pytest.fixture
def project(project_copy: Path) -> Path:
    give_venv(project_copy)
    return project_copy


@pytest.fixture
def service(project: Path, redis_server: RedisServer, web_port: int) -> Iterator[Service]:
    """Return the running service. Its web server is at `web_port`."""
    with started(project, SCHEDULER="rq-scheduler", REDIS_URL=redis_server.url, PORT=str(web_port)) as service:
        assert service.has_printed("Redis triggers sending"), service.output
        yield service


def post(port: int, event_id: int, due_in: float) -> None:
    due = datetime.now(UTC_8) + timedelta(seconds=due_in)
    fields = {"event_id": event_id, "email_subject": "s", "email_content": "c", "timestamp": f"{due:%F %T}"}
    with urlopen(f"http://127.0.0.1:{port}/send-emails", urlencode(fields).encode()) as answer:
        assert answer.read() == b"Successful"


def test_it_starts_all_parts_sends_and_stops_all(service: Service, project: Path, web_port: int) -> None:
    Installation(project).add_recipients(1)
    assert len(service.processes()) == 5  # supervisor, granian and its worker, rq worker, rqscheduler
    post(web_port, 1, 0)
    post(web_port, 2, 2)
    assert wait_until(lambda: Installation(project).log() == ["1", "2"]), service.output
    assert service.stop() == 0
    assert service.leaves_nothing(0)
    assert "Traceback" not in service.output


def test_a_redis_that_was_emptied_by_a_restart_is_armed_again(
    service: Service, project: Path, redis_server: RedisServer, web_port: int
) -> None:
    Installation(project).add_recipients(1)
    post(web_port, 1, 4)
    redis_server.kill()
    assert service.has_printed("Restarting it"), service.output
    redis_server.start()
    assert wait_until(lambda: Installation(project).log() == ["1"]), service.output
    assert service.stop() == 0
    assert service.leaves_nothing(0)
    assert "hunter2" not in service.output


def test_a_redis_that_somebody_emptied_is_armed_again_within_seconds(
    service: Service, project: Path, redis_server: RedisServer, web_port: int
) -> None:
    Installation(project).add_recipients(1)
    wake_ups = WakeUps(redis_server.url)
    # Both schedule all wake-ups once when they start.
    assert wait_until(lambda: wake_ups.stats().workers and wake_ups.stats().has_scheduler), service.output
    post(web_port, 1, 4)
    redis_server.client.flushall()
    assert wait_until(lambda: Installation(project).log() == ["1"]), service.output
    assert "was emptied. Rescheduling all wake-ups" in service.output
    assert service.stop() == 0


def test_parts_of_redis_that_are_killed_are_started_again(service: Service, project: Path, web_port: int) -> None:
    Installation(project).add_recipients(1)
    for part in ("worker", "scheduler"):
        (pid,) = [pid for pid, command in service.processes().items() if f" serving.part {part}" in command]
        os.kill(pid, signal.SIGKILL)
    post(web_port, 1, 1)
    assert wait_until(lambda: Installation(project).log() == ["1"]), service.output
    assert service.output.count("was killed by signal 9. Restarting it") == 2
    assert service.stop() == 0


@pytest.mark.parametrize("kill_worker", [False, True], ids=["stopped", "stopped without its worker"])
def test_a_stop_ends_the_sweep_too_and_nothing_is_doubled(
    project: Path, redis_server: RedisServer, web_port: int, kill_worker: bool
) -> None:
    environ = {"SCHEDULER": "rq-scheduler", "REDIS_URL": redis_server.url, "PORT": str(web_port)}
    with ScriptedServer(on={"CONTENT": lambda line, n: (Wait(0.1), "250 2.0.0 Ok")}) as server:
        environ["EMAIL_URL"] = f"smtp://127.0.0.1:{server.port}"
        with started(project, **environ) as service:
            assert service.has_printed("Redis triggers sending"), service.output
            Installation(project).add_recipients(400)
            post(web_port, 1, 0)
            assert wait_until(lambda: len(server.accepted) > 20), service.output
            if kill_worker:
                workers = [pid for pid, command in service.processes().items() if " serving.part worker" in command]
                os.kill(min(workers), signal.SIGKILL)
            assert service.stop() == 0
            assert service.leaves_nothing(0), service.processes()
            sent = len(server.accepted)
            assert sent < 400
            time.sleep(0.3)
            assert len(server.accepted) == sent
    assert len(set(server.recipients)) == sent


def test_a_redis_that_does_not_answer_is_one_line_with_the_remedy(
    project: Path, redis_server: RedisServer, web_port: int
) -> None:
    redis_server.kill()
    with started(project, SCHEDULER="rq-scheduler", REDIS_URL=redis_server.url, PORT=str(web_port)) as service:
        assert service.process.wait(60) == 1
        (line,) = service.output.splitlines()
    assert line.startswith(f"cannot use Redis at {redis_server.place}: ")
    assert line.endswith("(start it, check REDIS_URL, or set SCHEDULER=cron)")
