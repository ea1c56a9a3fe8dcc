"""How late emails are when Redis loses all wake-ups: the whole service, and 1,000 emails, some due in each second.

    python bench/redis_emptied.py [EMAILS]

While the emails wait, Redis is emptied (FLUSHALL). In another run, it is killed and restarted without its data. The
service recovers without help.
Needs redis-server and requirements/redis.txt.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.measured import free_port, percentile, print_machine
from wakeup_latency import service

from tests.support.installation import Installation
from tests.support.servers.redis_server import RedisServer

SECONDS = 20  # the emails are due over this time, starting BEFORE seconds after they were saved
BEFORE = 10
LONGEST = 120  # seconds to wait for all of them
LATENESS = "SELECT p.last_sent_at - e.due_at FROM progress p JOIN emails e ON e.event_id = p.event_id WHERE p.sent > 0"


def main() -> int:
    emails = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    with tempfile.TemporaryDirectory() as name:
        print_machine(Path(name))
        good = [
            run(Path(name, "emptied"), emails, "emptied", lambda redis: redis.client.flushall()),
            run(Path(name, "restarted"), emails, "started again without its data", restart),
        ]
    return 0 if all(good) else 1


def restart(redis: RedisServer) -> None:
    redis.kill()
    redis.start()


def run(folder: Path, emails: int, what: str, lose: Callable[[RedisServer], object]) -> bool:
    folder.mkdir()
    with closing(RedisServer(folder, free_port())) as redis:
        installation = Installation(folder, SCHEDULER="rq-scheduler", REDIS_URL=redis.url)
        installation.add_recipients(1)
        save(installation, emails)
        with service(installation):
            time.sleep(BEFORE / 2)
            armed = len(redis.armed())
            lose(redis)
            lateness = wait_for_all(installation, emails)
    median, worst = percentile(lateness, 50), max(lateness)
    print(
        f"{armed} wake-ups for {emails:,} emails, Redis {what}: {len(lateness):,} delivered; "
        f"late by {median} s at the median, {worst} s at most (in whole seconds)"
    )
    return len(lateness) == emails


def save(installation: Installation, emails: int) -> None:
    now = time.time()
    with installation.database() as database, database.connection.transaction():
        for event_id in range(emails):
            due_at = int(now) + BEFORE + event_id % SECONDS
            installation.save_into(database, event_id, due_at + 0.5 - now, subject=str(event_id))


def wait_for_all(installation: Installation, emails: int) -> list[int]:
    """Return the lateness of each email, in seconds."""
    deadline = time.monotonic() + LONGEST
    lateness: list[int] = []
    while len(lateness) < emails and time.monotonic() < deadline:
        time.sleep(1)
        with installation.database() as database:
            lateness = [row[0] for row in database.connection.fetch_all(LATENESS)]
    return lateness


if __name__ == "__main__":
    sys.exit(main())
