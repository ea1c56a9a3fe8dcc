"""Half an hour of mixed load on the whole service. Nothing may grow or get lost, and every response must be right.

    python bench/soak.py [MINUTES]

Clients POST, PUT, list, cancel and import (support/soak_clients.py), and a watcher sends. Now and then a web worker is
killed (-9): always the younger one, so that the older one shows what an old worker needs. The memory and the file
descriptors of every process are measured every ten seconds, and the medians of the first and the last third of the time
are compared.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.measured import BENCH, print_machine
from support.processes import children, started, words
from support.soak_clients import TOKEN, WORK, Client, Ledger, cancel
from wakeup_latency import Running, service

from tests.support.installation import Installation

LOOK_EVERY = 10.0  # seconds; sooner where the whole time is short
KILL_EVERY = 20.0  # seconds; a worker that dies within five of its start ends the service instead of being replaced
MAY_GROW = 1.10, 4.0  # times, and MiB
MORE_DESCRIPTORS = 10  # open files of two more busy threads
WARM_UP = 60.0  # seconds until the first measurement: every thread has worked
BREAKS_WITHIN = 5.0  # seconds after a kill
FINISH = 120.0  # seconds for what is due when the load ends
RECIPIENTS = 5
TAKEN = "SELECT COALESCE(SUM(sent), 0), COALESCE(SUM(failed + unknown), 0) FROM progress"


class Size(NamedTuple):
    """The size of one process at one moment."""

    memory: float  # MiB
    descriptors: int


class Processes:
    """The processes of the service by role, and their sizes over time."""

    def __init__(self, root: int) -> None:
        self._root = root
        self.sizes: defaultdict[str, list[Size]] = defaultdict(list)

    def look(self) -> None:
        """Record the current size of each process."""
        for name, process_id in self._named():
            with suppress(OSError):  # it has just been killed
                self.sizes[name].append(size_of(process_id))

    def younger_worker(self) -> int | None:
        """Return the younger of two workers, or None if there is only one."""
        workers = self._workers()
        return workers[-1] if len(workers) > 1 else None

    def _named(self) -> Iterator[tuple[str, int]]:
        yield "supervisor", self._root
        for part in children(self._root):
            yield (words(part) + [""] * 4)[3], part
        workers = self._workers()
        yield from zip(["elder worker", "younger worker"], workers, strict=False)

    def _workers(self) -> list[int]:
        """Return the workers, the oldest first. They are forks of the web server, with the same command line."""
        web = next(part for part in children(self._root) if "web" in words(part))
        return sorted((child for child in children(web) if words(child) == words(web)), key=started)


def size_of(process_id: int) -> Size:
    status = Path(f"/proc/{process_id}/status").read_text()
    memory = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return Size(memory / 1024, len(list(Path(f"/proc/{process_id}/fd").iterdir())))


class Soak:
    """The load, the kills and the measurements, each in its own thread."""

    def __init__(self, running: Running, seconds: float) -> None:
        self.ledger = Ledger()
        self.processes = Processes(running.process_id)
        self.kills: list[float] = []
        self._port = running.port
        self._seconds = seconds

    def run(self) -> None:
        acts = [threading.Thread(target=self._work, args=(number,)) for number in range(len(WORK))]
        looks = min(LOOK_EVERY, self._seconds / 20), self.processes.look, min(WARM_UP, self._seconds / 3)
        acts += [threading.Thread(target=self._every, args=looks)]
        acts += [threading.Thread(target=self._every, args=(KILL_EVERY, self._kill))]
        for act in acts:
            act.start()
        time.sleep(self._seconds)
        self.ledger.over.set()
        for act in acts:
            act.join()
        self._cancel_the_rest()

    def _work(self, number: int) -> None:
        act, pause = WORK[number]
        Client(self._port, self.ledger, number).until_over(act, pause)

    def _every(self, seconds: float, act: Callable[[], None], after: float = 0.0) -> None:
        self.ledger.over.wait(after)
        while not self.ledger.over.wait(seconds):
            act()

    def _kill(self) -> None:
        worker = self.processes.younger_worker()
        if worker is not None:
            os.kill(worker, signal.SIGKILL)
            self.kills.append(time.monotonic())

    def _cancel_the_rest(self) -> None:
        client = Client(self._port, self.ledger, -1)
        self.ledger.recent.clear()
        while self.ledger.for_later:
            cancel(client)


@contextmanager
def sink() -> Iterator[subprocess.Popen[str]]:
    """Start a mail server that accepts and counts everything. The first line it prints is its port."""
    command = [sys.executable, str(BENCH / "support" / "delaying_sink.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process


def wait_until_sent(installation: Installation) -> float:
    """Wait until nothing is due before tomorrow. Return the seconds."""
    began = time.monotonic()
    time.sleep(5)
    with installation.database() as database:
        while database.has_work(int(time.time())) and time.monotonic() < began + FINISH:
            time.sleep(0.5)
    return time.monotonic() - began


def faults(soak: Soak, installation: Installation, taken: int) -> list[str]:
    """Return all faults in the responses, the database and the sent messages."""
    ledger = soak.ledger
    found = [f"wrong response: {wrong}" for wrong in ledger.wrong[:10]]
    far = [broken for broken in ledger.broken if not any(0 <= broken - kill < BREAKS_WITHIN for kill in soak.kills)]
    if far:
        found.append(f"{len(far)} connections broke although no worker had been killed")
    with installation.database() as database:
        statuses: dict[int, str] = dict(database.connection.fetch_all("SELECT event_id, status FROM emails"))
        (sent, unsent) = database.connection.fetch_one(TAKEN) or (0, 0)
        whole = [row[0] for row in database.connection.fetch_all("PRAGMA integrity_check")]
    if lost := ledger.saved - set(statuses):
        found.append(f"{len(lost)} emails that were reported as saved are not in the database")
    if open_ := {n: status for n, status in statuses.items() if status not in ("sent", "cancelled")}:
        found.append(f"{len(open_)} emails are neither sent nor cancelled: {Counter(open_.values())}")
    if revived := [n for n in ledger.cancelled if statuses.get(n) == "sent"]:
        found.append(f"{len(revived)} emails were reported as cancelled, but were sent")
    if stopped := [n for n in ledger.saved - ledger.cancelled if statuses.get(n) == "cancelled"]:
        found.append(f"{len(stopped)} emails are cancelled, but no response said so")
    if unsent or taken != sent:
        found.append(f"{sent} deliveries are recorded as sent, {unsent} as not sent; the mail server accepted {taken}")
    return found + ([f"the database is damaged: {whole}"] if whole != ["ok"] else [])


def print_growth(sizes: dict[str, list[Size]]) -> list[str]:
    """Print a table of all processes, and return those that have grown."""
    grown = []
    print(
        f"\n{'process':16} {'checks':>6} {'MiB, first and last third':>26} {'most':>6} {'descriptors':>14} {'most':>5}"
    )
    for name, all_sizes in sizes.items():
        third = max(len(all_sizes) // 3, 1)
        first, last = median(all_sizes[:third]), median(all_sizes[-third:])
        most = Size(*(max(column) for column in zip(*all_sizes, strict=True)))
        print(
            f"{name:16} {len(all_sizes):6} {first.memory:18.1f} {last.memory:7.1f} {most.memory:6.1f} "
            f"{first.descriptors:9} {last.descriptors:4} {most.descriptors:5}"
        )
        if last.memory > first.memory * MAY_GROW[0] + MAY_GROW[1]:
            grown.append(f"the {name} uses more and more memory")
        if last.descriptors > first.descriptors + MORE_DESCRIPTORS:
            grown.append(f"the {name} keeps opening descriptors")
    return grown


def median(sizes: list[Size]) -> Size:
    memory, descriptors = zip(*sizes, strict=True)
    return Size(statistics.median(memory), int(statistics.median(descriptors)))


def print_answers(soak: Soak, seconds: float, waited: float, sent: int) -> None:
    ledger = soak.ledger
    for (what, status), number in sorted(ledger.answers.items()):
        print(f"{what:52} {status} {number:9,}")
    print(
        f"{sum(ledger.answers.values()) / seconds:,.0f} responses per second; {len(ledger.saved):,} emails saved, "
        f"{len(ledger.cancelled):,} cancelled, {sent:,} messages sent, the last {waited:.1f} s after the load ended; "
        f"{len(soak.kills)} workers killed, {len(ledger.broken)} connections broken by that"
    )


def main() -> int:
    seconds = 60 * float(sys.argv[1] if len(sys.argv) > 1 else "30")
    with tempfile.TemporaryDirectory() as name, sink() as server, Path(name, "service.log").open("wb") as log:
        assert server.stdout
        print_machine(Path(name))
        url = f"smtp://127.0.0.1:{server.stdout.readline().strip()}"
        installation = Installation(Path(name), EMAIL_URL=url, SMTP_CONNECTIONS="32", API_TOKEN=TOKEN, WEB_WORKERS="2")
        installation.add_recipients(RECIPIENTS)
        with service(installation, log) as running:
            soak = Soak(running, seconds)
            soak.run()
            waited = wait_until_sent(installation)
        told, _ = server.communicate()
        taken = int(told.split()[0])
        print_answers(soak, seconds, waited, taken)
        wrong = faults(soak, installation, taken) + print_growth(soak.processes.sizes)
        wrong += ["an error was logged"] * (b"Traceback" in Path(name, "service.log").read_bytes())
        print_machine(Path(name))
    print("\n" + ("; ".join(wrong) or "Nothing grew, nothing was lost, and every response was correct."))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
