"""kill -9 of senders at random moments: how many of 20,000 deliveries are lost, in doubt or repeated.

    python bench/sender_crashes.py [--postgresql] [KILLS [DELIVERIES [SEED]]]

Four senders share one database. One of them is killed 1,000 times, with IN_DOUBT=resend and then with IN_DOUBT=hold.
After each run, the messages that the server accepted are compared with the database, delivery by delivery. The limit is
one message per connection of a killed sender.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.support.faults.sender_killer import SenderCrashes
from tests.support.ports import unused_port
from tests.support.servers.postgresql_server import PostgreSQLServer


def main() -> int:
    numbers = [int(argument) for argument in sys.argv[1:] if argument != "--postgresql"]
    kills, deliveries, seed = (*numbers, *(1000, 20_000, random.randrange(10**6))[len(numbers) :])
    with database_server() if "--postgresql" in sys.argv else nullcontext() as server:
        results = [run(in_doubt, kills, deliveries, seed, server) for in_doubt in ("resend", "hold")]
    return 0 if all(results) else 1


@contextmanager
def database_server() -> Iterator[PostgreSQLServer]:
    with tempfile.TemporaryDirectory() as folder:
        server = PostgreSQLServer(Path(folder), unused_port())
        server.start()
        yield server
        server.stop()


def run(in_doubt: str, kills: int, deliveries: int, seed: int, server: PostgreSQLServer | None) -> bool:
    """Run once, and return whether the promise was kept."""
    began = time.monotonic()
    where = {"DATABASE_URL": server.new_database()} if server else {}
    with tempfile.TemporaryDirectory() as name:
        crashes = SenderCrashes(
            Path(name), deliveries=deliveries, kills=kills, in_doubt=in_doubt, seed=seed, where=where
        )
        found = crashes.run()
    kind = "PostgreSQL" if server else "SQLite"
    print(
        f"{kind}, IN_DOUBT={in_doubt}, seed {seed}: {crashes.kills:,} kills over {deliveries:,} deliveries in "
        f"{time.monotonic() - began:.0f} s; lost {found.lost}; in doubt {found.in_doubt:,} (bound {crashes.bound:,}); "
        f"doubled {found.doubled:,}; {dict(found.statuses)}"
    )
    return found.lost == 0 and found.doubled <= (0 if in_doubt == "hold" else found.in_doubt)


if __name__ == "__main__":
    sys.exit(main())
