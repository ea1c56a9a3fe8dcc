"""100 overlapping `task.py` over 10,000 deliveries to a Maildir, with SENDERS 1 and 20.

    python bench/overlapping_sweeps.py [--postgresql] [SWEEPS [RECIPIENTS]]

Each message must arrive once, nothing may be left, every exit code must be 0, and no more senders may
run than allowed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from postgresql import started_server

from tests.support.installation import Installation, subjects
from tests.support.servers.postgresql_server import PostgreSQLServer

EMAILS = 10


def main() -> int:
    numbers = [int(argument) for argument in sys.argv[1:] if argument != "--postgresql"]
    sweeps, recipients = numbers + [100, 1_000][len(numbers) :]
    with started_server() if "--postgresql" in sys.argv else nullcontext() as server:
        good = [run(senders, sweeps, recipients, server) for senders in (1, 20)]
    return 0 if all(good) else 1


def run(senders: int, sweeps: int, recipients: int, server: PostgreSQLServer | None) -> bool:
    """Run once, and return whether all promises were kept."""
    database = {} if server is None else {"DATABASE_URL": server.new_database()}
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(Path(folder), SENDERS=str(senders), **database)
        installation.add_recipients(recipients)
        for event_id in range(EMAILS):
            installation.save_email(event_id, subject=str(event_id))
        began = time.monotonic()
        processes = [installation.start_task() for _ in range(sweeps)]
        most = watch_senders(installation, processes)
        codes = Counter(process.wait() for process in processes)
        took = time.monotonic() - began
        for process in processes:
            process.communicate()
        exact = installation.delivered() == subjects(range(EMAILS), recipients)
        statuses = dict(installation.statuses())
    print(
        f"SENDERS={senders}: {sweeps} sweeps over {EMAILS * recipients:,} deliveries in {took:.1f} s; "
        f"each message once: {exact}; states {statuses}; exit codes {dict(codes)}; most senders at once {most}"
    )
    return exact and set(statuses) == {"sent"} and set(codes) == {0} and most <= senders


def watch_senders(installation: Installation, processes: list[subprocess.Popen[str]]) -> int:
    """Return the maximum number of concurrent senders until all processes have exited."""
    most = 0
    with installation.database() as database:
        while any(process.poll() is None for process in processes):
            row = database.connection.fetch_one("SELECT COUNT(*) FROM senders")
            most = max(most, row[0] if row else 0)
            time.sleep(0.02)
    return most


if __name__ == "__main__":
    sys.exit(main())
