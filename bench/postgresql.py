"""PostgreSQL with a million rows: the cost of a claim, contention between senders, and how long a copy takes.

    python bench/postgresql.py [ROWS]

Needs Debian's package postgresql. Starts its own server, which syncs every commit.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contenders.on_postgresql import SYNCED
from support.measured import print_machine

from database import Database, Delivery, DeliveryUpdate
from tests.support.installation import PROJECT, Installation
from tests.support.ports import unused_port
from tests.support.servers.postgresql_server import PostgreSQLServer

CLAIMERS, BATCH = 20, 100
FILL = """
INSERT INTO deliveries (event_id, recipient_id, queued_at, next_attempt_at, address)
SELECT 1, recipient_id, 0, 0, address FROM recipients
"""
NOTE = "UPDATE progress SET cursor_id = last_recipient_id, deliveries = (SELECT COUNT(*) FROM deliveries)"


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name, started_server() as server:
        print_machine(Path(name))
        source = Installation(Path(name))
        source.add_recipients(rows)
        source.save_email(1)
        url = server.new_database()
        copy(source, url)
        target = Installation(Path(name), DATABASE_URL=url)
        queue_all(target)
        claim_alone(target)
        claim_together(target)


@contextmanager
def started_server() -> Iterator[PostgreSQLServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = PostgreSQLServer(Path(folder), unused_port(), **SYNCED)
        server.start()
        yield server
        server.stop("fast")


def copy(source: Installation, url: str) -> None:
    """Copy the database with `flask copy-database`, which compares each row."""
    command = [
        sys.executable,
        "-m",
        "flask",
        "--app",
        "email_app",
        "copy-database",
        source.environment["DATABASE_URL"],
        url,
    ]
    print(
        subprocess.run(
            command, cwd=PROJECT, env=source.environment, stdout=subprocess.PIPE, text=True, check=True
        ).stdout
    )


def queue_all(target: Installation) -> None:
    """Queue all deliveries of the email."""
    with target.database() as database:
        database.progress.start_due_emails(int(time.time()))
        with database.connection.transaction():
            database.connection.execute(FILL)
            database.connection.execute(NOTE)
        database.connection.analyze()


def claim_alone(target: Installation) -> None:
    with target.database() as database:
        sender_id = enter(database)
        times = [claim(database, sender_id)[1] * 1000 for _ in range(200)]
        database.senders.unregister(sender_id, no_doubt)
    print(f"a batch of {BATCH}: median {statistics.median(times):.2f} ms, longest {max(times):.2f} ms (200 batches)")


def claim_together(target: Installation) -> None:
    """Claim with several senders until nothing is left."""
    began = time.perf_counter()
    with ThreadPoolExecutor(CLAIMERS) as pool:
        results = list(pool.map(claim_all, [target] * CLAIMERS))
    claimed = Counter(key for keys, _ in results for key in keys)
    times = [milliseconds for _, each in results for milliseconds in each]
    with target.database() as database:
        left = database.connection.fetch_one("SELECT COUNT(*) FROM deliveries WHERE claimed_by IS NULL")
    print(
        f"{CLAIMERS} claimers at once: {len(claimed):,} rows claimed in {time.perf_counter() - began:.0f} s, "
        f"{sum(count > 1 for count in claimed.values())} of them twice, {left and left[0]} left; "
        f"a batch: median {statistics.median(times):.1f} ms"
    )


def claim_all(target: Installation) -> tuple[list[int], list[float]]:
    with target.database() as database:
        sender_id = enter(database)
        keys: list[int] = []
        times: list[float] = []
        while (claimed := claim(database, sender_id))[0]:
            keys += claimed[0]
            times.append(claimed[1] * 1000)
        return keys, times


def claim(database: Database, sender_id: int) -> tuple[list[int], float]:
    began = time.perf_counter()
    claims = database.claims.claim(sender_id, 0, int(datetime.now(UTC).timestamp()), BATCH)
    return [recipient_id for _, recipient_id, _ in claims], time.perf_counter() - began


def enter(database: Database) -> int:
    sender_id = database.senders.register(100, int(time.time()), no_doubt)
    assert sender_id is not None
    return sender_id


def no_doubt(delivery: Delivery) -> DeliveryUpdate:
    raise AssertionError(f"nothing was sent, but {delivery} is in doubt")


if __name__ == "__main__":
    main()
