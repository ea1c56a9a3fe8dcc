"""The time from the POST of a due email to the first byte at the SMTP server, with the watcher and with Redis.

    python bench/wakeup_latency.py [POSTS]

The whole service runs as with ./start_flask.sh, on SQLite unless another database is named. The emails are submitted
one by one, at random moments. Needs redis-server, PostgreSQL and the requirements of both.
"""

from __future__ import annotations

import http.client
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from postgresql import started_server
from support.measured import free_port, print_machine, wait_for

from tests.support.installation import PROJECT, Installation
from tests.support.servers.redis_server import RedisServer
from tests.support.servers.smtp_server import ScriptedServer

UTC_8 = timezone(timedelta(hours=8))
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


class Arrivals:
    """An SMTP server that records when it last received the first line of a client."""

    def __init__(self) -> None:
        self.last = 0.0
        self.server = ScriptedServer(on={"EHLO": self._note})

    def _note(self, line: bytes, nth: int) -> None:
        self.last = time.perf_counter()


def main() -> int:
    posts = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory() as name:
        print_machine(Path(name))
        report("task.py --watch", run(Path(name, "watch"), posts, {"SCHEDULER": "cron"}))
        with started_server() as server:
            url = server.new_database()
            report("task.py --watch on PostgreSQL", run(Path(name, "postgresql"), posts, {"DATABASE_URL": url}))
        with closing(RedisServer(Path(name), free_port())) as redis:
            report(
                "rq-scheduler", run(Path(name, "redis"), posts, {"SCHEDULER": "rq-scheduler", "REDIS_URL": redis.url})
            )
    return 0


def report(what: str, latencies: list[float]) -> None:
    median, worst = statistics.median(latencies) * 1000, max(latencies) * 1000
    print(f"{what}: median {median:.0f} ms, worst of {len(latencies)} {worst:.0f} ms")


def run(folder: Path, posts: int, environment: dict[str, str]) -> list[float]:
    """Return the latency of each POST, in seconds."""
    folder.mkdir()
    arrivals = Arrivals()
    with arrivals.server as server:
        installation = Installation(folder, EMAIL_URL=f"smtp://127.0.0.1:{server.port}", **environment)
        installation.add_recipients(1)
        with service(installation) as running:
            time.sleep(2)  # until all parts are up
            return [latency(running.port, event_id, arrivals) for event_id in range(posts)]


class Running(NamedTuple):
    """The whole service, by its port and its supervisor."""

    port: int
    process_id: int


@contextmanager
def service(installation: Installation, log: BinaryIO | None = None) -> Iterator[Running]:
    """Run the whole service as ./start_flask.sh does. `log` receives its stderr."""
    port = free_port()
    command = [sys.executable, "-m", "serving"]
    environment = {
        **installation.environment,
        "PORT": str(port),
        "LOG_FORMAT": "text" if log else "off",
        "HOME": os.environ.get("HOME", "/"),
    }
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=log)
    try:
        wait_for(port)
        yield Running(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def latency(port: int, event_id: int, arrivals: Arrivals) -> float:
    """POST one email. Return the seconds until the SMTP server receives something."""
    before = len(arrivals.server.accepted)
    time.sleep(random.uniform(0.2, 0.7))
    due = datetime.now(UTC_8)
    fields = {"event_id": event_id, "email_subject": "s", "email_content": "c", "timestamp": f"{due:%F %T}"}
    with closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
        began = time.perf_counter()
        connection.request("POST", "/send-emails", urlencode(fields), FORM)
        if connection.getresponse().read() != b"Successful":
            raise SystemExit("a POST was refused")
    while len(arrivals.server.accepted) == before:
        time.sleep(0.01)
    return arrivals.last - began


if __name__ == "__main__":
    sys.exit(main())
