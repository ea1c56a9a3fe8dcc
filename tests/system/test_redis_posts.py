"""POSTs while Redis is down, frozen, emptied or refuses the password: all succeed, and few are delayed."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from schedulers.redis_queue import REDIS_TIMEOUT_SECONDS
from tests.support.installation import subjects
from tests.support.servers.web_server import Server, serve

if TYPE_CHECKING:
    from tests.support.servers.redis_server import RedisInstallation, RedisServer

UTC_8 = timezone(timedelta(hours=8))
POSTS = 10
TROUBLES: dict[str, Callable[[RedisServer], object]] = {
    "down": lambda redis: redis.kill(),
    "frozen": lambda redis: redis.freeze(),
    "emptied": lambda redis: redis.client.flushall(),
    "locked": lambda redis: redis.client.config_set("requirepass", "changed"),
}


def post(server: Server, event_id: int) -> float:
    """POST an email, due now if its number is even, otherwise in an hour. Return the seconds until the response."""
    due = datetime.now(UTC_8) + timedelta(hours=event_id % 2)
    began = time.perf_counter()
    fields = {"event_id": event_id, "email_subject": str(event_id), "email_content": "c", "timestamp": f"{due:%F %T}"}
    assert server.post(fields).body == "Successful"
    return time.perf_counter() - began


@pytest.mark.parametrize(
    ("trouble", "connected"),
    [("down", True), ("frozen", True), ("frozen", False), ("emptied", True), ("locked", False)],
)
def test_each_post_succeeds_and_one_at_most_waits(
    installation: RedisInstallation,
    redis_server: RedisServer,
    tmp_path: Path,
    web_port: int,
    trouble: str,
    connected: bool,
) -> None:
    installation.add_recipients(1)
    environment = {name: installation.environment[name] for name in ("SCHEDULER", "REDIS_URL")}
    with serve(tmp_path, web_port, **environment) as server:
        if connected:
            post(server, POSTS)
        TROUBLES[trouble](redis_server)
        seconds = sorted(post(server, event_id) for event_id in range(POSTS))
        if trouble == "frozen":
            redis_server.thaw()
        log = server.log.read_text()
    print(f"{trouble}, {connected=}: slowest {seconds[-1] * 1000:.0f} ms, then {seconds[-2] * 1000:.0f} ms")
    assert seconds[-1] < REDIS_TIMEOUT_SECONDS + 5  # on a busy machine
    assert seconds[POSTS // 2] < REDIS_TIMEOUT_SECONDS
    assert "hunter2" not in log
    assert log.count("could not schedule a wake-up: ") == (trouble != "emptied")
    installation.task()
    assert installation.delivered() == subjects(range(0, POSTS + connected, 2), 1)
