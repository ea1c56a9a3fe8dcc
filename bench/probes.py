"""How long /readyz and /metrics take with a million emails, recipients and deliveries, on SQLite or PostgreSQL.

Each request runs the checks (in production, results are cached for a second). `inside` is Flask's test client. `HTTP`
is granian with one worker, to which a client sends --http-requests requests, more than a second apart.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.measured import free_port, percentile, print_machine

from email_app import create_app
from tests.support.installation import Installation
from tests.support.servers.postgresql_server import PostgreSQLServer
from tests.support.servers.web_server import Server, serve
from web.services import services_of

TOKEN = "a-token-of-the-benchmark"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
BOUNDS = {"/readyz": 10, "/metrics": 50}  # ms, the median
SENDING = 1_000  # of a million emails are being sent, and wait for their next attempts
DAY = 24 * 60 * 60
NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :rows)"
SEED = (
    NUMBERS + " INSERT INTO emails (event_id, due_at, created_at, finished_at, status, logged, token, subject, content)"
    " SELECT n, CASE WHEN n <= :sent THEN :now - n ELSE :now + :day + n END, :now - :day,"
    " CASE WHEN n <= :sent - :sending THEN :now END,"
    " CASE WHEN n <= :sent - :sending THEN 'sent' WHEN n <= :sent THEN 'sending' ELSE 'scheduled' END,"
    " 1, 'token', 'Subject', 'Content' FROM numbers",
    NUMBERS + " INSERT INTO recipients (recipient_id, address, address_key, created_at)"
    " SELECT n, 'r' || n || '@example.com', 'r' || n || '@example.com', 0 FROM numbers",
    NUMBERS
    + " INSERT INTO deliveries (event_id, recipient_id, queued_at, next_attempt_at, finished_at, status, address)"
    " SELECT :sent - (n % (2 * :sending)), n, :now - :day, :now + :day,"
    " CASE WHEN n % (2 * :sending) >= :sending THEN :now END,"
    " CASE WHEN n % (2 * :sending) >= :sending THEN 'sent' ELSE 'queued' END, 'r' || n || '@example.com' FROM numbers",
    "INSERT INTO progress (event_id, started_at, last_recipient_id, cursor_id, deliveries)"
    " SELECT event_id, :now - :day, :rows, :rows, 1 FROM emails WHERE status IN ('sending', 'sent')",
    NUMBERS.replace(":rows", ":hours")
    + " INSERT INTO hourly_stats (hour, sent, late_1) SELECT :now / 3600 - n, n, n FROM numbers",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--hours", type=int, default=366 * 24, help="in which something was sent")
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--http-requests", type=int, default=10)
    parser.add_argument("--postgresql", action="store_true", help="PostgreSQL instead, a server of its own")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print_machine(Path(name))
        kept = on_postgresql(options) if options.postgresql else measure(Path(name), options, {})
    sys.exit(not kept)


def on_postgresql(options: argparse.Namespace) -> bool:
    """Run the benchmark on its own PostgreSQL server."""
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as name:
        server = PostgreSQLServer(Path(place), free_port())
        server.start()
        try:
            return measure(Path(name), options, {"DATABASE_URL": server.new_database()})
        finally:
            server.stop()


def measure(folder: Path, options: argparse.Namespace, where: dict[str, str]) -> bool:
    """Create the data and request each probe. Return whether every median was within its limit."""
    installation = Installation(folder, API_TOKEN=TOKEN, LOG_FORMAT="off", **where)
    began = time.monotonic()
    seed(installation, options.rows, options.hours)
    print(f"{options.rows:,} of each in {time.monotonic() - began:.0f} s", flush=True)
    kept = [ask(f"inside {path}", path, inside(installation), options.requests) for path in BOUNDS]
    with serve(folder, free_port(), **installation.environment) as server:
        kept += [ask(f"HTTP {path}", path, over_http(server), options.http_requests, 1.01) for path in BOUNDS]
    return all(kept)


def seed(installation: Installation, rows: int, hours: int) -> None:
    """Create emails: half are sent, except the last of these, which are being sent. The rest are scheduled."""
    values = {
        "rows": rows,
        "sent": rows // 2,
        "sending": min(SENDING, rows // 4),
        "now": int(time.time()),
        "day": DAY,
        "hours": hours,
    }
    with installation.database() as database:
        for statement in SEED:
            used = {name: value for name, value in values.items() if f":{name}" in statement}
            with database.connection.transaction():
                database.connection.execute(statement, **used)
        database.connection.analyze()
        database.record_heartbeat(values["now"])


def inside(installation: Installation) -> Callable[[str], tuple[int, str]]:
    app = create_app(installation.settings)
    services = services_of(app)
    services.readiness.ttl = services.metrics.ttl = 0
    client = app.test_client()

    def get(path: str) -> tuple[int, str]:
        answer = client.get(path, headers=HEADERS)
        return answer.status_code, answer.text

    return get


def over_http(server: Server) -> Callable[[str], tuple[int, str]]:
    return lambda path: server.request("GET", path, headers=HEADERS)[:2]


def ask(name: str, path: str, get: Callable[[str], tuple[int, str]], requests: int, pause: float = 0) -> bool:
    """Print how long this path took. Return whether its median was within its limit, and each status 200."""
    times, cpu = [], time.process_time()
    for _ in range(requests):
        time.sleep(pause)
        began = time.perf_counter()
        status, said = get(path)
        times.append((time.perf_counter() - began) * 1000)
        if status != 200:
            print(f"{name}: answered {status}: {said}")
            return False
    median, cpu = statistics.median(times), (time.process_time() - cpu) * 1000 / requests
    figures = f"median {median:6.2f} ms, 95% {percentile(times, 95):6.2f} ms, CPU of this process {cpu:5.2f} ms"
    print(f"{name:16} {figures}; at most {BOUNDS[path]} ms allowed", flush=True)
    return median <= BOUNDS[path]


if __name__ == "__main__":
    main()
