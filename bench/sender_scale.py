"""The sender with 1,000,000 recipients in one email, compared with 50,000: into `smtp-sink`, 32 connections.

Use --only to run single parts:
  speed     both in alternation, whole processes: messages per second, peak memory
  batches   the claims of the large one alone: how long creating each batch of its deliveries holds the write lock
  writers   how long a client's writes wait and take while the large one is being sent
  fairness  an email to 10 recipients becomes due while the large one is being sent: when is it accepted?

In `writers`, the client shares two processors with the sender and the sink, so its figures include waiting for those.
Needs Debian's package postfix.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contenders.ours import Ours, settings_for
from support.measured import TASK, Cost, Sink, cost, fresh_copy, paired_ratio, print_machine, smtp_sink, spread
from support.other_writer import OtherWriter, summary

from database import Database, Delivery, DeliveryUpdate
from tests.support.installation import Installation

CONNECTIONS = 32
LARGE, TEN = 1, 2  # event_ids
BATCH = 1000  # deliveries
DUE_IN = 4  # seconds; time for the sender to start
FIGURES = "median / 95% / 99% / longest, ms"
PARTS = ("speed", "batches", "writers", "fairness")


class Scale:
    """The parts of the benchmark, on copies of the same two installations."""

    def __init__(self, folder: Path, sink: Sink, options: argparse.Namespace) -> None:
        self._place = folder / "run"
        self._sink = sink
        self._rounds: int = options.rounds
        self._seconds: float = options.seconds
        self._sizes: tuple[int, int] = (options.small, options.large)
        self._templates = {size: folder / str(size) for size in self._sizes}
        for size, template in self._templates.items():
            template.mkdir()
            Ours(CONNECTIONS).prepare(template, size)

    def speed(self) -> bool:
        """Measure the throughput and memory of both."""
        costs: dict[int, list[Cost]] = {size: [] for size in self._sizes}
        for _ in range(self._rounds):
            for size in self._sizes:
                costs[size].append(self._whole_process(size))
        for size, these in costs.items():
            rates = spread([size / one.seconds for one in these])
            peak = statistics.median(one.peak for one in these)
            cpu = statistics.median(one.cpu for one in these) * 1e6 / size
            print(f"{size:>9,} recipients: {rates} messages/s, CPU {cpu:.1f} us a message, peak {peak:.1f} MiB")
        small, large = ([size / one.seconds for one in costs[size]] for size in self._sizes)
        print(f"large / small, in each round: {paired_ratio(large, small):.2f}")
        return True

    def batches(self) -> bool:
        """Create and claim the deliveries as the sweep does, without other senders."""
        with self._copy(self._sizes[1]).database() as database:
            times = start_all(database)
        print(f"{len(times)} batches, each with the write lock for ({FIGURES}): {summary(times)}")
        return True

    def writers(self) -> bool:
        """Measure a client's writes in each phase of the sender."""
        installation = self._copy(self._sizes[1])
        with OtherWriter(installation, LARGE) as other:
            time.sleep(2)
            with self._sending() as sender:
                still_sending = not ends_within(sender, self._seconds)
        print(f"a client that writes continuously ({FIGURES}):")
        for phase, writes in other.writes.items():
            waited, took = summary([write.waited for write in writes]), summary([write.took for write in writes])
            print(f"  while {phase:16} {len(writes):6,} writes waited {waited}; took in total {took}")
        return still_sending

    def fairness(self) -> bool:
        """Return whether all ten were accepted within 2 s."""
        installation = self._copy(self._sizes[1])
        with installation.database() as database:
            start_all(database)
            keep_ten_recipients(database)
            with self._sending() as sender:
                due_at = installation.save_email(TEN, due_in=DUE_IN, subject="Ten")
                late = lateness(database, due_at, sender)
                large = database.progress.get(LARGE)
        if late is None or large is None:
            print(f"the ten were not accepted; the large one: {large}")
            return False
        print(
            f"ten recipients while {large.deliveries:,} were in progress ({large.sent:,} sent by then): the last was "
            f"accepted {late[0]} whole seconds after it was due, and this was seen {late[1]:.2f} s after it was due"
        )
        return late[1] <= 2 and large.sent < large.deliveries

    def _copy(self, size: int) -> Installation:
        fresh_copy(self._templates[size], self._place)
        return Installation(self._place)

    def _whole_process(self, size: int) -> Cost:
        self._copy(size)
        spent = cost(TASK, settings_for(self._place, self._sink.port, CONNECTIONS))
        Ours(CONNECTIONS).check(self._place, size)
        return spent

    def _sending(self) -> Sending:
        return Sending(Installation(self._place, **settings_for(self._place, self._sink.port, CONNECTIONS)))


class Sending:
    """A running `task.py`, which is asked to stop at the end."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation

    def __enter__(self) -> subprocess.Popen[str]:
        self._process = self._installation.start_task()
        return self._process

    def __exit__(self, *error: object) -> None:
        self._process.terminate()
        _, stderr = self._process.communicate(timeout=120)
        print(stderr, end="")


def start_all(database: Database) -> list[float]:
    """Start the due emails, and create all their deliveries, which stay queued. Return the seconds for each batch."""
    now = int(time.time())
    database.progress.start_due_emails(now)
    sender_id = database.senders.register(1, now, no_doubt)
    times = []
    more = True
    while sender_id is not None and more:
        began = time.perf_counter()
        more = bool(database.claims.claim(sender_id, 0, now, BATCH))
        times.append(time.perf_counter() - began)
    database.senders.unregister(sender_id or 0, no_doubt)
    return times


def no_doubt(delivery: Delivery) -> DeliveryUpdate:
    raise AssertionError(f"nothing was sent, but {delivery} is in doubt")


def keep_ten_recipients(database: Database) -> None:
    """Remove all recipients except the last ten. The large email has started and still goes to all."""
    with database.connection.transaction():
        database.connection.execute(
            "DELETE FROM recipients WHERE recipient_id <= (SELECT MAX(recipient_id) - 10 FROM recipients)"
        )


def ends_within(process: subprocess.Popen[str], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def lateness(database: Database, due_at: int, sender: subprocess.Popen[str]) -> tuple[int, float] | None:
    """Return when the last of the ten was accepted, in whole seconds as recorded, and when this was noticed."""
    while sender.poll() is None and time.time() < due_at + 60:
        progress = database.progress.get(TEN)
        if progress is not None and progress.sent == 10:
            seen = time.time()
            row = database.connection.fetch_one("SELECT MAX(finished_at) FROM deliveries WHERE event_id = :id", id=TEN)
            return (row[0] if row else 0) - due_at, seen - due_at
        time.sleep(0.01)
    return None


def main() -> int:
    options = parsed()
    good = []
    with tempfile.TemporaryDirectory() as name, smtp_sink() as sink:
        print_machine(Path(name))
        scale = Scale(Path(name), sink, options)
        for part in options.only:
            print(f"\n{part}", flush=True)
            good.append(getattr(scale, part)())
        print()
        print_machine(Path(name))
    return 0 if all(good) else 1


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--rounds", type=int, default=3, help="of `speed`")
    parser.add_argument("--small", type=int, default=50_000)
    parser.add_argument("--large", type=int, default=1_000_000)
    parser.add_argument("--seconds", type=float, default=10, help="of `writers`")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
