"""The cost of each list with a million rows per table. Checks that no statement scans or sorts anything large.

    python bench/lists.py [ROUNDS]

Fills a SQLite file, and its own PostgreSQL server, with 1,000,000 emails, 1,000,000 recipients, and one email with
1,000,000 deliveries. Then prints the median of each operation, in milliseconds.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from database import Address, Database
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.servers.postgresql_server import PostgreSQLServer

MANY = 1_000_000
BIG = -1  # the event_id of the email with all those deliveries
NOW = 1_800_000_000

NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :many)"
FILL = (
    f"""{NUMBERS} INSERT INTO emails (event_id, due_at, created_at, finished_at, token, subject, content, status,
        logged)
    SELECT n, {NOW} - 600000 + n, 0, {NOW}, 'token', 'Subject', 'Content',
        CASE WHEN n % 1000 = 0 THEN 'held' WHEN n % 1000 = 1 THEN 'cancelled' WHEN n <= 600000 THEN 'sent'
             ELSE 'scheduled' END, 1 FROM numbers""",
    f"""INSERT INTO emails (event_id, due_at, created_at, token, subject, content, status)
    VALUES ({BIG}, {NOW}, 0, 'token', 'Big', 'Content', 'sending')""",
    f"""{NUMBERS} INSERT INTO recipients (recipient_id, address, address_key, created_at, status)
    SELECT n, 'p' || n || '@example.com', 'p' || n || '@example.com', 0,
        CASE WHEN n % 10000 = 0 THEN 'unsubscribed' ELSE 'active' END FROM numbers""",
    "UPDATE counters SET value = :many WHERE name = 'recipient_id'",
    f"""INSERT INTO progress (event_id, started_at, last_recipient_id, cursor_id, deliveries)
    VALUES ({BIG}, {NOW}, :many, :many, :many)""",
    f"""{NUMBERS} INSERT INTO deliveries (event_id, recipient_id, status, queued_at, next_attempt_at, finished_at,
        address)
    SELECT {BIG}, n, CASE n % 100 WHEN 7 THEN 'failed' WHEN 8 THEN 'queued' WHEN 9 THEN 'cancelled' ELSE 'sent' END,
        {NOW}, {NOW} + n % 3600, CASE WHEN n % 100 = 8 THEN NULL ELSE {NOW} END, 'p' || n || '@example.com'
    FROM numbers""",
    f"""{NUMBERS} INSERT INTO attempts (event_id, recipient_id, attempted_at, outcome, reply)
    SELECT {BIG}, n, {NOW}, CASE n % 100 WHEN 7 THEN 'failed' ELSE 'deferred' END, '550 5.1.1 no' FROM numbers
    WHERE n % 100 = 7 OR n % 100 = 8""",
)


def acts(database: Database) -> dict[str, Callable[[], object]]:
    """Return the lists, from the beginning and from the middle."""
    middle = datetime.fromtimestamp(NOW - 100_000, UTC), 500_000
    emails, deliveries, recipients = database.emails, database.deliveries, database.recipients
    return {
        "emails": emails.page,
        "emails, newest first, from the middle": lambda: emails.page(middle, newest_first=True),
        "emails, held, from the middle": lambda: emails.page(middle, status="held"),
        "emails, sent, newest first": lambda: emails.page(status="sent", newest_first=True),
        "emails, sending": lambda: emails.page(status="sending"),
        "one email": lambda: emails.summary(BIG),
        "emails by status, counted": emails.counts,
        "deliveries, from the middle": lambda: deliveries.page(BIG, MANY // 2),
        "deliveries, sent": lambda: deliveries.page(BIG, status="sent"),
        "deliveries, cancelled": lambda: deliveries.page(BIG, status="cancelled"),
        "deliveries, failed, from the middle": lambda: deliveries.page(BIG, MANY // 2, status="failed"),
        "deliveries, unknown (none)": lambda: deliveries.page(BIG, status="unknown"),
        "deliveries, queued, from the middle": lambda: deliveries.page(BIG, MANY // 2, status="queued"),
        "deliveries, sending (none)": lambda: deliveries.page(BIG, status="sending"),
        "attempts of a delivery": lambda: deliveries.attempts(BIG, 7),
        "reasons": lambda: deliveries.reasons(BIG),
        "recipients, from the middle": lambda: recipients.page(MANY // 2),
        "recipients, unsubscribed, from the middle": lambda: recipients.page(MANY // 2, status="unsubscribed"),
        "recipients, rejected (none)": lambda: recipients.page(status="rejected"),
        "recipients, searched": lambda: recipients.page(address_begins="p77"),
        "recipients, searched, from the middle": lambda: recipients.page(MANY // 2, address_begins="p"),
        "recipients, unsubscribed, searched": lambda: recipients.page(status="unsubscribed", address_begins="p7"),
        "recipients by status, counted": recipients.counts,
        "a recipient's history": lambda: recipients.deliveries(77),
        "what is due next": database.next_work_at,
    }


def fill(database: Database) -> None:
    """Create a million rows of each. The counters of the large email are not consistent."""
    with database.connection.transaction():
        for statement in FILL:
            database.connection.execute(statement, many=MANY)
    if hasattr(database.connection, "_execute"):
        database.connection.execute("ANALYZE")


def measured(database: Database, rounds: int) -> dict[str, float]:
    """Return the median of each operation, in milliseconds."""
    medians = {}
    for name, act in acts(database).items():
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            act()
            times.append(time.perf_counter() - began)
        medians[name] = statistics.median(times) * 1000
    return medians


def writes(database: Database, rounds: int) -> dict[str, float]:
    """Return the median of a POST and of an import of 1,000, in milliseconds, with a million rows present."""
    from database import Email

    def post(number: int) -> None:
        now = datetime.now(UTC)
        database.emails.save(Email(10**9 + number, "Subject", "Content", now), now)

    def add(number: int) -> None:
        names = (f"new{number}-{n}@example.com" for n in range(1000))
        database.recipients.add((Address(name, name) for name in names), datetime.now(UTC))

    medians = {}
    for name, act in {"a POST's commit": post, "1,000 recipients added": add}.items():
        times = []
        for number in range(rounds):
            began = time.perf_counter()
            act(number)
            times.append(time.perf_counter() - began)
        medians[name] = statistics.median(times) * 1000
    return medians


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        server = PostgreSQLServer(Path(folder), unused_port(), fsync="on")
        server.start()
        try:
            medians = {}
            for kind, settings in {"SQLite": {}, "PostgreSQL": {"DATABASE_URL": server.new_database()}}.items():
                with Installation(Path(folder), **settings).database() as database:
                    fill(database)
                    medians[kind] = measured(database, rounds) | writes(database, rounds)
        finally:
            server.stop()
    print(f"{'milliseconds, the median of ' + str(rounds):45} {'SQLite':>10} {'PostgreSQL':>10}")
    for name in medians["SQLite"]:
        print(f"{name:45} {medians['SQLite'][name]:10.2f} {medians['PostgreSQL'][name]:10.2f}")


if __name__ == "__main__":
    main()
