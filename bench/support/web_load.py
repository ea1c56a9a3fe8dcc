"""The web server as in production, and `wrk` (a Debian package), which POSTs to it as fast as possible."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import NamedTuple

from support.measured import BENCH, PROJECT, free_port, wait_for
from tests.support.installation import Installation

TOKEN = "a-token-that-nobody-guesses"
APART = 1_000_000_000  # separates the event_ids of two runs of wrk; smaller ones are for others
FIRST_EVENT_IDS = count(APART, APART)


class Requests(NamedTuple):
    """The requests to POST, as a script for wrk."""

    path: str
    script: str
    emails: int  # in each


FORMS = Requests("/send-emails", "post.lua", 1)
LISTS = Requests("/api/emails", "post_list.lua", 1000)


class Load(NamedTuple):
    """The result of a load."""

    answers: int
    seconds: float
    errors: int  # responses that are not a success, and broken connections
    p50: float  # milliseconds
    p99: float
    longest: float

    @property
    def rate(self) -> float:
        """Return the responses per second."""
        return self.answers / self.seconds


@contextmanager
def served(installation: Installation, workers: int, project: Path = PROJECT, **environment: str) -> Iterator[int]:
    """Run the web server of the program in `project`, with this many workers and a token. Yield its port."""
    port = free_port()
    settings = installation.environment | {"API_TOKEN": TOKEN, "WEB_WORKERS": str(workers)} | environment
    command = [sys.executable, "-m", "serving.part", "web", "127.0.0.1", str(port)]
    with (installation.folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=project, env=settings, stdin=subprocess.PIPE, stderr=log, start_new_session=True
        )
    assert process.stdin is not None
    try:
        wait_for(port)
        yield port
    finally:
        process.stdin.close()
        process.wait(30)


class Wrk:
    """A running `wrk`, until its time is up or it is stopped."""

    def __init__(self, port: int, connections: int, seconds: float, requests: Requests = FORMS) -> None:
        if not shutil.which("wrk"):
            raise SystemExit("wrk is missing: install Debian's package wrk")
        self.requests = requests
        self.first_event_id = next(FIRST_EVENT_IDS)
        threads = min(connections, 2)
        command = [
            "wrk",
            "--timeout",
            "10s",
            f"-t{threads}",
            f"-c{connections}",
            f"-d{seconds:.0f}s",
            "-s",
            str(BENCH / "support" / requests.script),
        ]
        command += [f"http://127.0.0.1:{port}{requests.path}", "--", TOKEN, str(self.first_event_id)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PATH": os.environ["PATH"]})

    def stop(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def result(self) -> Load:
        """Wait until it exits, and return the load."""
        told, _ = self._process.communicate()
        for line in told.splitlines():
            if line.startswith("RESULT "):
                answers, seconds, errors, *milliseconds = line.split()[1:]
                return Load(int(answers), float(seconds), int(errors), *map(float, milliseconds))
        raise SystemExit(f"wrk said:\n{told}")
