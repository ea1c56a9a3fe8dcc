"""How long each page takes with a million recipients, and an email with a delivery to each of them.

There are also ten thousand emails, a thousand lists and five million memberships.

    python bench/pages.py [ROUNDS] [--postgresql]

Prints the median time of each page in Flask's test client, the CPU time of this process (which shows whether others
were using the machine), and the size of the page. Then prints what the schedule costs a browser: the compressed size
of everything that it loads, and the number of requests.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from flask.testing import FlaskClient
from support.measured import free_port, percentile, print_machine

from email_app import create_app
from sender.outgoing import unsubscribe_tokens
from tests.support.installation import Installation
from tests.support.servers.postgresql_server import PostgreSQLServer

AS_BROWSER = {"Accept": "text/html", "Accept-Encoding": "gzip"}
BOUND = 50  # ms, the median
MOST_BYTES, MOST_REQUESTS = 60_000, 6  # of the schedule; each response is compressed
RECIPIENTS, EMAILS, LISTS = 1_000_000, 10_000, 1_000
LARGE_LISTS = (1, 2)  # of everyone, and of every second recipient; the others have 3,500 members of a million
BIG = EMAILS + 1  # the email with a delivery to everyone
NUMBERS = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :many)"
STATUS = "CASE n % 100 WHEN 7 THEN 'failed' WHEN 8 THEN 'queued' WHEN 9 THEN 'unknown' ELSE 'sent' END"
ADDRESS = """
    'p' || n || CASE n % 5 WHEN 0 THEN '.smith' WHEN 1 THEN '.lee' WHEN 2 THEN '.garcia' ELSE '' END
        || '@mail' || (n % 500) || '.example'
"""
FIELDS = """
    '{"first_name": "Ada' || (n % 997) || '", "last_name": "' || CASE n % 3 WHEN 0 THEN 'Müller' WHEN 1 THEN 'López'
        ELSE 'Straße' END || '", "city": "City ' || (n % 300) || '"}'
"""
FILL = (
    f"""{NUMBERS} INSERT INTO recipients (recipient_id, address, address_key, created_at, status, fields)
    SELECT n, {ADDRESS}, {ADDRESS}, 0, CASE WHEN n % 1000 = 0 THEN 'unsubscribed' ELSE 'active' END, {FIELDS}
    FROM numbers""",
    f"""{NUMBERS} INSERT INTO lists (list_id, name, name_key, created_at, members)
    SELECT n, 'list-' || n, 'list-' || n, 0, CASE n WHEN 1 THEN :recipients WHEN 2 THEN :recipients / 2
        ELSE :recipients / 1000 * 7 / 2 END FROM numbers""",
    "UPDATE counters SET value = :lists WHERE name = 'list_id'",
    "UPDATE counters SET value = :many WHERE name = 'recipient_id'",
    f"""{NUMBERS} INSERT INTO emails (event_id, due_at, created_at, finished_at, token, subject, content, status,
        held_because, logged)
    SELECT n, :now - 6000 * 60 + n * 60, 0, CASE WHEN n < 6000 THEN :now - 6000 * 60 + n * 60 END, 'token',
        'Subject ' || n, 'Content', CASE WHEN n >= 6000 THEN 'scheduled' WHEN n % 100 = 0 THEN 'held'
        WHEN n % 100 = 1 THEN 'cancelled' ELSE 'sent' END, CASE WHEN n < 6000 AND n % 100 = 0 THEN 'it is late' END, 1
    FROM numbers""",
    f"""{NUMBERS} INSERT INTO progress (event_id, started_at, last_recipient_id, cursor_id, deliveries, sent, failed,
        first_sent_at, last_sent_at)
    SELECT n, :now - 6000 * 60 + n * 60, 0, 0, 10, 10 - n % 3 % 2, n % 3 % 2, :now - 6000 * 60 + n * 60, :now
    FROM numbers WHERE n < 6000 AND n % 100 > 1""",
    """INSERT INTO emails (event_id, due_at, created_at, token, subject, content, status)
    VALUES (:big, :now, 0, 'token', 'The large one', '<!DOCTYPE html><p>Content', 'sending')""",
    """INSERT INTO progress (event_id, started_at, last_recipient_id, cursor_id, deliveries, sent, failed, unknown,
        first_sent_at, last_sent_at)
    VALUES (:big, :now, :many, :many, :many, :many / 100 * 97, :many / 100, :many / 100, :now, :now)""",
    f"""{NUMBERS} INSERT INTO deliveries (event_id, recipient_id, status, attempts, queued_at, next_attempt_at,
        finished_at, address, reply)
    SELECT :big, n, {STATUS}, 1, :now, :now + n % 3600, CASE WHEN n % 100 = 8 THEN NULL ELSE :now END,
        'p' || n || '@example.com', CASE WHEN n % 100 IN (7, 8, 9) THEN '550 5.1.1 no' ELSE '250 Ok' END
    FROM numbers""",
    f"""{NUMBERS} INSERT INTO attempts (event_id, recipient_id, attempted_at, outcome, reply)
    SELECT :big, n, :now, CASE n % 100 WHEN 7 THEN 'failed' WHEN 8 THEN 'deferred' ELSE 'in_doubt' END,
        '550 5.1.1 no mailbox ' || n % 20 FROM numbers WHERE n % 100 IN (7, 8, 9)""",
)


# One list. Its members are evenly distributed over all recipients, and begin with another one in each list.
FILL_LIST = f"""
{NUMBERS} INSERT INTO memberships (list_id, recipient_id, joined_at, added_by)
SELECT :list_id, 1 + (n * (:recipients / :many) + :list_id) % :recipients, 0, 'program' FROM numbers
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rounds", type=int, nargs="?", default=21)
    parser.add_argument("--recipients", type=int, default=RECIPIENTS)
    parser.add_argument("--postgresql", action="store_true", help="PostgreSQL instead, a server of its own")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print_machine(Path(name))
        kept = on_postgresql(Path(name), options) if options.postgresql else measure(Path(name), options, {})
    sys.exit(not kept)


def on_postgresql(folder: Path, options: argparse.Namespace) -> bool:
    """Run the benchmark on its own PostgreSQL server."""
    with tempfile.TemporaryDirectory() as place:
        server = PostgreSQLServer(Path(place), free_port())
        server.start()
        try:
            return measure(folder, options, {"DATABASE_URL": server.new_database()})
        finally:
            server.stop()


def measure(folder: Path, options: argparse.Namespace, where: dict[str, str]) -> bool:
    """Create the data and request each page. Return whether all limits were kept."""
    installation = Installation(folder, LOG_FORMAT="off", PUBLIC_URL="https://mail.example.com", **where)
    began = time.monotonic()
    fill(installation, options.recipients)
    print(f"{options.recipients:,} recipients, {EMAILS:,} emails in {time.monotonic() - began:.0f} s", flush=True)
    began = time.process_time()
    with installation.database() as database:
        before = database.connection.size()
        database.search_index.update()
        megabytes = (database.connection.size() - before) / 1e6
    print(f"indexed for searches with {time.process_time() - began:.0f} s of CPU: {megabytes:.0f} MB", flush=True)
    client = create_app(installation.settings).test_client()
    kept = [ask(client, page, options.rounds) for page in pages(installation, options.recipients)]
    return weigh(client, "/") and all(kept)


def fill(installation: Installation, recipients: int) -> None:
    """Create data as after weeks of use. One large email is being sent, and some messages are in the outbox."""
    installation.save_email(BIG + 1)
    installation.add_recipients(20)
    installation.task()
    values = {"now": int(time.time()), "big": BIG, "recipients": recipients, "lists": LISTS}
    with installation.database() as database:
        with database.connection.transaction():
            for table in ("deliveries", "progress", "emails", "recipients"):
                database.connection.execute(f"DELETE FROM {table}")
            for statement in FILL:
                many = EMAILS if "INTO emails" in statement or "6000" in statement else recipients
                many = LISTS if "INTO lists" in statement else many
                used = {key: value for key, value in {**values, "many": many}.items() if f":{key}" in statement}
                database.connection.execute(statement, **used)
            for list_id, many in database.connection.fetch_all("SELECT list_id, members FROM lists ORDER BY list_id"):
                database.connection.execute(FILL_LIST, list_id=list_id, many=many, recipients=recipients)
        database.connection.analyze()
        database.record_heartbeat(values["now"])


def pages(installation: Installation, recipients: int) -> list[str]:
    """Return the address of each page, with its lists from the beginning and from the middle."""
    message = min((installation.folder / "outbox" / "new").iterdir()).name
    with installation.database() as database:
        token = unsubscribe_tokens(installation.settings, database).token(7).decode()
    middle = recipients // 2
    lists = [f"/emails/{BIG}?status={status}&after={middle}" for status in ("sent", "failed", "queued", "unknown")]
    return [
        *("/", "/?status=sent", "/?status=scheduled", "/?status=held", "/?status=failed", "/?status=all"),
        *("/emails/7", f"/emails/{BIG}", f"/emails/{BIG}?after={middle}", *lists, "/emails/9000"),
        *(f"/emails/{BIG}/frame", f"/emails/{BIG}/source", "/emails/new"),
        *("/recipients", f"/recipients?after={middle}", "/recipients?status=unsubscribed"),
        *("/recipients?address_begins=p77", f"/recipients/{middle}", "/recipients/import"),
        *("/recipients?search=smith", "/recipients?search=zzqx", f"/recipients?search=p{middle}"),
        *("/recipients?search=q", "/recipients?search=p", "/recipients?search=ada77+lópez"),
        *("/recipients?search=99+mail7", "/recipients?domain=mail77.example", "/recipients?domain=none.example"),
        *("/recipients?address_contains=77.smi", "/recipients?list=list-1", "/recipients?list=list-1&search=ada77"),
        *("/recipients?list=list-2&search=zzqx", "/recipients?list=list-500&search=lee"),
        *("/recipients?list=list-1&status=unsubscribed", "/recipients?list=list-2&status=unsubscribed&search=straße"),
        *("/lists", "/lists?after=list-5", "/lists/1", f"/lists/1?after={middle}", "/lists/1?search=ada77"),
        *("/lists/500", "/lists/500?search=smith", "/lists/500?search=zzqx"),
        *("/?search=subject+77", "/?search=zzqx", "/?search=zzqx&status=sent", "/?search=subject&status=failed"),
        *("/api/recipients?search=zzqx", "/api/recipients?search=müller&list=list-2"),
        "/api/lists/list-2/members?search=ada",
        *("/outbox", f"/outbox/{message}", "/outbox?q=zzqx", "/health", "/docs", f"/unsubscribe/{token}", "/nothing"),
    ]


def ask(client: FlaskClient, page: str, rounds: int) -> bool:
    """Print how long this page took. Return whether its median was within the limit."""
    times, cpu = [], time.process_time()
    for _ in range(rounds):
        began = time.perf_counter()
        answer = client.get(page, headers={"Accept": "text/html"})
        times.append((time.perf_counter() - began) * 1000)
    median, cpu = statistics.median(times), (time.process_time() - cpu) * 1000 / rounds
    answered = answer.status_code == (404 if page == "/nothing" else 200)
    told = "" if answered else f", answered {answer.status_code}"
    print(
        f"{page[:44]:44} median {median:6.1f} ms, 95% {percentile(times, 95):6.1f} ms, CPU {cpu:5.1f} ms, "
        f"{len(answer.data) / 1000:6.1f} kB{told}",
        flush=True,
    )
    return answered and median <= BOUND


def weigh(client: FlaskClient, page: str) -> bool:
    """Print how much a browser loads for this page. Return whether it is within the limit."""
    text = client.get(page, headers={"Accept": "text/html"}).text
    files = sorted(set(re.findall(r'(?:src|href)="(/static/[^"#]+)', text)))
    sizes = {file: len(client.get(file, headers=AS_BROWSER).data) for file in (page, *files)}
    for name, size in sizes.items():
        print(f"{name:44} {size:7,} bytes")
    print(
        f"{page:44} {sum(sizes.values()):7,} bytes in {len(sizes)} requests; allowed: {MOST_BYTES:,} in {MOST_REQUESTS}"
    )
    return sum(sizes.values()) <= MOST_BYTES and len(sizes) <= MOST_REQUESTS


if __name__ == "__main__":
    main()
