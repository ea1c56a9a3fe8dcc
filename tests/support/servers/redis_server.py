"""A real Redis for one test, with the real `rq worker` and `rqscheduler`."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

import pytest
from redis import Redis
from redis.exceptions import RedisError
from rq.job import Job
from rq.registry import FailedJobRegistry

from schedulers.redis_queue import QUEUE_NAME
from tests.support import warm_python
from tests.support.installation import PROJECT, ForkingInstallation
from tests.support.ports import unused_port
from tests.support.project_copy import missing
from tests.support.service import processes_marked, wait_until

PASSWORD = "hunter2"
SCHEDULED = "rq:scheduler:scheduled_jobs"


class RedisServer:
    """A Redis without persistence: it is empty after every start."""

    def __init__(self, folder: Path, port: int) -> None:
        self.place = f"127.0.0.1:{port}"
        self.url = f"redis://:{PASSWORD}@{self.place}/0"
        self.client = Redis.from_url(self.url)
        self._command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self._command += ["--requirepass", PASSWORD]
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL)
        assert wait_until(self._answers, 10)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(10)

    def freeze(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def armed(self) -> list[str]:
        """Return the IDs of the wake-ups that are scheduled for later."""
        return [job_id.decode() for job_id, _ in self.client.zscan_iter(SCHEDULED)]

    def in_line(self) -> int:
        """Return how many wake-ups wait for a worker."""
        return int(self.client.llen(f"rq:queue:{QUEUE_NAME}"))

    def failed(self) -> list[str]:
        """Return the last line of each failed job's error."""
        registry = FailedJobRegistry(QUEUE_NAME, connection=self.client)
        jobs = [Job.fetch(job_id, connection=self.client) for job_id in registry.get_job_ids()]
        results = [job.latest_result() for job in jobs]
        return [(result.exc_string or "").strip().splitlines()[-1] for result in results if result is not None]

    def close(self) -> None:
        self.client.close()
        self.kill()

    def _answers(self) -> bool:
        with suppress(RedisError):
            return bool(self.client.ping())
        return False


class Program:
    """`rq worker` or `rqscheduler`, started in the project folder, with all its child processes."""

    def __init__(self, name: str, *arguments: str, environment: dict[str, str], log: Path) -> None:
        self._mark = f"TEST_MARK={uuid.uuid4().hex}"
        self._log = log
        marked = environment | dict([self._mark.split("=")])
        command = [str(Path(sys.executable).parent / name), *arguments]
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, cwd=PROJECT, env=marked, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    @property
    def output(self) -> str:
        return self._log.read_text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """Kill the program and its child processes with SIGKILL."""
        for pid in processes_marked(self._mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(10)


class RedisInstallation(ForkingInstallation):
    """An installation whose wake-ups go through Redis."""

    def __init__(self, folder: Path, redis: RedisServer, **settings: str) -> None:
        super().__init__(folder, SCHEDULER="rq-scheduler", REDIS_URL=redis.url, RQ_REDIS_URL=redis.url, **settings)

    def start_worker(self) -> Program:
        return Program("rq", "worker", QUEUE_NAME, environment=self.environment, log=self.folder / "worker.log")

    def start_scheduler(self) -> Program:
        return Program("rqscheduler", "-i", "0.25", environment=self.environment, log=self.folder / "scheduler.log")

    @contextmanager
    def queue(self) -> Iterator[Program]:
        """Run a worker and a scheduler, and yield the worker."""
        with self.start_worker() as worker, self.start_scheduler():
            yield worker

    def arm(self) -> subprocess.CompletedProcess[str]:
        """Run `flask wakeups arm`."""
        command = [sys.executable, "-m", "flask", "wakeups", "arm"]
        process = warm_python.start(command, self.environment, cwd=str(PROJECT))
        stdout, stderr = process.communicate(timeout=60)
        return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


@pytest.fixture
def redis_server(tmp_path: Path, free_port: int) -> Iterator[RedisServer]:
    if shutil.which("redis-server") is None:
        missing("there is no redis-server (apt install redis-server)")
    server = RedisServer(tmp_path, free_port)
    try:
        yield server
    finally:
        server.close()


@pytest.fixture
def installation(tmp_path: Path, redis_server: RedisServer) -> RedisInstallation:
    return RedisInstallation(tmp_path, redis_server)


@pytest.fixture
def web_port(redis_server: RedisServer) -> int:
    """A port for a web server, different from Redis's."""
    return unused_port()
