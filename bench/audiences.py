"""The cost of starting an email to lists and of claiming its deliveries, compared with an email to everyone.

    python bench/audiences.py [--recipients 50000] [--rounds 5] [--engine sqlite|postgresql] [--batch 1000]

Fills a database with that many recipients, and with four sets of lists:

- one list of all recipients
- ten lists, each with a tenth of them, and an excluded list
- 100 lists, each with a fifth of them, drawn at random
- 100 lists, each with a hundredth of them, in consecutive order

Each round starts an email to each audience in turn and claims everything, so that all audiences meet the same
conditions. Prints the medians over all rounds: the time to start, the longest transaction that started it, the CPU time
and the wall time of each claimed delivery, the longest claim, and how much the process's memory has grown.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from audience_model import databases

from database import EVERYONE, Address, Audience, Database, Email, db_init, open_database
from settings import load_settings

NOW = datetime.now(UTC).replace(microsecond=0)
SECOND = int(NOW.timestamp())


class Cost(NamedTuple):
    """The cost of one email, in seconds. `claims` is the wall time of all claims together."""

    deliveries: int
    start: float  # seconds
    start_locked: float
    cpu: float
    claims: float
    longest_claim: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipients", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, default=1_000)
    parser.add_argument("--engine", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    with databases(options.engine) as new_database, tempfile.TemporaryDirectory() as folder:
        settings = load_settings(next(new_database), Path(folder))
        db_init(settings, NOW)
        with open_database(settings) as database:
            began = time.monotonic()
            audiences = filled(database, options.recipients)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            print(
                f"{database.connection.server_version()}, {options.recipients:,} recipients, filled in "
                f"{time.monotonic() - began:.0f} s, {before // 1024:,} MiB"
            )
            costs: dict[str, list[Cost]] = {name: [] for name in audiences}
            for number in range(options.rounds):
                for position, (name, audience) in enumerate(audiences.items()):
                    event_id = number * len(audiences) + position
                    costs[name].append(measure(database, event_id, audience, options.batch))
            for name, of_audience in costs.items():
                report(name, of_audience)
            print(f"memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024:,} MiB")


def filled(database: Database, count: int) -> dict[str, Audience]:
    """Add recipients and lists. Return the audiences by name."""
    everyone = [Address(text, text) for text in (f"p{number}@example.com" for number in range(count))]
    database.recipients.add(everyone, NOW)
    drawn = random.Random(16)
    fill(database, "all", everyone)
    fill(database, "few", everyone[5::1000])
    for number in range(10):
        fill(database, f"tenth-{number}", everyone[number::10])
    for number in range(100):
        fill(database, f"random-{number}", drawn.sample(everyone, max(count // 5, 1)))
        fill(database, f"part-{number}", everyone[number * count // 100 : (number + 1) * count // 100])
    tenths, random_lists, parts = (
        tuple(f"{name}-{number}" for number in range(many))
        for name, many in (("tenth", 10), ("random", 100), ("part", 100))
    )
    return {
        "everyone": EVERYONE,
        "everyone but a list": Audience((), ("few",)),
        "one list": Audience(("all",)),
        "ten lists less one": Audience(tenths, ("few",)),
        "100 lists at random": Audience(random_lists),
        "100 lists in turn": Audience(parts),
    }


def fill(database: Database, name: str, addresses: list[Address]) -> None:
    database.lists.add(name, NOW)
    database.lists.add_members(name, addresses, NOW, "program")


def measure(database: Database, event_id: int, audience: Audience, batch: int) -> Cost:
    """Start an email and claim everything, as a sender does."""
    database.emails.save(Email(event_id, "S", "C\n", NOW, audience=audience), NOW)
    sender_id = database.senders.register(9, SECOND, lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
    assert sender_id is not None
    began = time.perf_counter()
    with longest_transaction(database) as longest:
        (started,) = database.progress.start_due_emails(SECOND)
    start = time.perf_counter() - began
    assert started.held_because is None
    claimed, seconds, slowest, cpu = 0, 0.0, 0.0, time.process_time()
    while True:
        began = time.perf_counter()
        claims = database.claims.claim(sender_id, 0, SECOND, batch)
        took = time.perf_counter() - began
        if not claims:
            break
        claimed, seconds, slowest = claimed + len(claims), seconds + took, max(slowest, took)
    cpu = time.process_time() - cpu
    database.senders.unregister(sender_id, lambda _: 1 / 0)  # type: ignore[arg-type,return-value]
    database.emails.cancel(event_id, NOW)
    return Cost(claimed, start, longest[0], cpu / claimed, seconds / claimed, slowest)


@contextmanager
def longest_transaction(database: Database) -> Iterator[list[float]]:
    """Context manager: yields a list whose only item is the duration of the longest transaction, afterwards."""
    connection, longest = database.connection, [0.0]
    original = connection.transaction

    @contextmanager
    def timed() -> Iterator[None]:
        began = time.perf_counter()
        with original():
            yield
        longest[0] = max(longest[0], time.perf_counter() - began)

    connection.transaction = timed  # type: ignore[method-assign]
    try:
        yield longest
    finally:
        del connection.transaction


def report(name: str, costs: list[Cost]) -> None:
    middle = Cost._make(map(statistics.median, zip(*costs, strict=True)))
    print(
        f"{name:20} {int(middle.deliveries):9,} deliveries: started in {middle.start * 1e3:8.1f} ms "
        f"(transaction {middle.start_locked * 1e3:5.1f} ms), each {middle.claims * 1e6:6.2f} µs "
        f"(CPU {middle.cpu * 1e6:6.2f} µs), longest claim {middle.longest_claim * 1e3:6.1f} ms"
    )


if __name__ == "__main__":
    main()
