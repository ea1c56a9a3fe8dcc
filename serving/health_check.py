"""The health checks of the containers: `python -m serving.health_check PART`, where PART is as in `PARTS`.

The exit code is 0, or 1 with the reason on stdout, which `docker inspect` shows. A check asks whether the part does its
work, not only whether its process exists: a sender that hangs stops recording its heartbeat.
"""

from __future__ import annotations

import http.client
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime

from database import DBError, open_database
from monitoring import delivery_health
from schedulers.errors import QueueUnavailable
from schedulers.wake_ups import wake_ups_of
from settings import SettingsError, load_settings

WEB_PORT = 5000  # of deploy/Dockerfile
TIMEOUT_SECONDS = 5.0


class Unhealthy(Exception):
    """The part does not do its work; says why."""


def check_web() -> None:
    """A worker of the web server answers. The database is not asked: restarting the web server would not help."""
    server = http.client.HTTPConnection("127.0.0.1", WEB_PORT, timeout=TIMEOUT_SECONDS)
    try:
        server.request("GET", "/healthz")
        status = server.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Unhealthy(f"the web server does not answer: {error}") from error
    finally:
        server.close()
    if status != 200:
        raise Unhealthy(f"the web server answers {status}")


def check_sender() -> None:
    """A watcher has looked for work lately. All watchers on one database share this heartbeat."""
    with open_database(load_settings()) as database:
        age = datetime.now(UTC) - database.health.heartbeat_at()
    finding = delivery_health.heartbeat(age, "cron")
    if not finding.is_ok:
        raise Unhealthy(finding.text)


def check_worker() -> None:
    """The rq worker of this container is registered in Redis."""
    wake_ups = wake_ups_of(load_settings()._replace(scheduler="rq-scheduler"))
    if wake_ups is None or not wake_ups.has_worker_on(socket.gethostname()):
        raise Unhealthy("no rq worker of this container is at work")


def check_scheduler() -> None:
    """An rqscheduler is registered in Redis."""
    wake_ups = wake_ups_of(load_settings()._replace(scheduler="rq-scheduler"))
    if wake_ups is None or not wake_ups.stats().has_scheduler:
        raise Unhealthy("no rqscheduler is at work")


PARTS: dict[str, Callable[[], None]] = {
    "web": check_web,
    "sender": check_sender,
    "worker": check_worker,
    "scheduler": check_scheduler,
}


def main(arguments: list[str]) -> int:
    """Check the part that the command line names; return the exit code."""
    if len(arguments) != 1 or arguments[0] not in PARTS:
        print(f"Usage: python -m serving.health_check {'|'.join(PARTS)}", file=sys.stderr)
        return 2
    try:
        PARTS[arguments[0]]()
    except (Unhealthy, DBError, QueueUnavailable, SettingsError) as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
