"""POST /send-emails, the whole application with security on, against raw one-row commits in the same run.

`wrk` with 32 clients POSTs emails of 1 KB, each with its own event_id, to the web server as in production. Use --only
to run single parts:
  rate      WEB_WORKERS=2 and 1, alternating with raw commits; and a single client
  beside    the same while a sender sends to `smtp-sink` at full speed, alternating with each of them alone
  slow      on a disk whose syncs take 2 ms longer
  bulk      1,000 emails per POST to /api/emails, from 4 clients, with WEB_WORKERS=2 and 1
After each load, the rows are counted: every response needs one. Needs Debian's packages wrk, postfix and gcc.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contenders.ours import Ours, settings_for
from support.measured import BENCH, PROJECT, fresh_copy, paired_ratio, print_machine, smtp_sink, spread
from support.web_load import APART, FORMS, LISTS, Load, Requests, Wrk, served

from database import Database
from storage.sqlite.driver import driver
from tests.support.installation import Installation

CLIENTS = 32
LIST_CLIENTS = 4
PARTS = ("rate", "beside", "slow", "bulk")
SLOWER = "2000"  # microseconds
SENDER_CONNECTIONS = 32
ROWS = "SELECT COUNT(*) FROM emails WHERE event_id >= :first AND event_id < :first + :apart"
SENT = "SELECT COALESCE(MAX(sent), 0) FROM progress"


class Measured:
    """The loads, by what was measured."""

    def __init__(self) -> None:
        self._loads: defaultdict[str, list[Load]] = defaultdict(list)
        self.rates: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, name: str, load: Load) -> None:
        self._loads[name].append(load)
        self.rates[name].append(load.rate)

    def print(self, unit: str = "POST/s") -> None:
        for name, rates in self.rates.items():
            loads = self._loads.get(name)
            latency = f"; p50 / p99 / longest {_latency(loads)} ms" if loads else ""
            print(f"{name:34} {spread(rates)} {unit if loads else '/s'}{latency}")

    def print_ratio(self, name: str, to: str) -> None:
        print(f"{name} / {to}, in each round: {paired_ratio(self.rates[name], self.rates[to]):.2f}")


def _latency(loads: list[Load]) -> str:
    columns = zip(*((load.p50, load.p99, load.longest) for load in loads), strict=True)
    return " / ".join(f"{statistics.median(column):.2f}" for column in columns)


class PostRate:
    """The parts. Each measures for `seconds` at a time."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self._folder = folder
        self._rounds: int = options.rounds
        self._seconds: float = options.seconds
        self._deliveries: int = options.deliveries
        self._against: Path | None = options.against and options.against.resolve()

    def rate(self) -> None:
        """Measure 32 clients, and one."""
        measured = Measured()
        projects = {"": PROJECT, **({"before, ": self._against} if self._against else {})}
        for number in range(self._rounds):
            measured.rates["raw commits"].append(self._raw())
            for workers in (2, 1):
                in_turn = list(projects.items())[:: -1 if number % 2 else 1]  # they take turns in being first
                for before, project in in_turn:
                    measured.add(f"{before}WEB_WORKERS={workers}", self._load(workers, CLIENTS, project=project))
            measured.add("one client", self._load(1, 1))
        measured.print()
        if self._against:
            for workers in (2, 1):
                measured.print_ratio(f"WEB_WORKERS={workers}", f"before, WEB_WORKERS={workers}")
        measured.print_ratio("WEB_WORKERS=2", "raw commits")
        measured.print_ratio("WEB_WORKERS=1", "raw commits")

    def slow(self) -> None:
        """Measure with syncs as slow as on an ordinary disk."""
        measured = Measured()
        slower = self._slow_sync()
        for _ in range(self._rounds):
            measured.rates["raw commits"].append(self._raw(slower))
            for workers in (2, 1):
                measured.add(f"WEB_WORKERS={workers}", self._load(workers, CLIENTS, FORMS, PROJECT, **slower))
        measured.print()
        measured.print_ratio("WEB_WORKERS=2", "raw commits")
        measured.print_ratio("WEB_WORKERS=1", "raw commits")

    def beside(self) -> None:
        """Measure POSTs alone, a sender alone, and both."""
        measured = Measured()
        template = self._folder / "template"
        template.mkdir()
        Ours(SENDER_CONNECTIONS).prepare(template, self._deliveries)
        with smtp_sink() as sink:
            for _ in range(self._rounds):
                measured.add("POSTs alone", self._load(2, CLIENTS))
                place = self._folder / "run"
                settings = settings_for(place, sink.port, SENDER_CONNECTIONS)
                fresh_copy(template, place)
                measured.rates["sender alone"].append(sent_a_second(Installation(place, **settings)))
                fresh_copy(template, place)
                load, sent = both(Installation(place, **settings))
                measured.add("POSTs beside a sender", load)
                measured.rates["sender beside POSTs"].append(sent)
        measured.print()
        measured.print_ratio("POSTs beside a sender", "POSTs alone")
        measured.print_ratio("sender beside POSTs", "sender alone")

    def bulk(self) -> None:
        """Measure emails per second in bulk requests."""
        measured = Measured()
        for _ in range(self._rounds):
            measured.rates["raw commits"].append(self._raw())
            for workers in (2, 1):
                lists = self._load(workers, LIST_CLIENTS, LISTS)
                measured.rates[f"in lists, WEB_WORKERS={workers}"].append(lists.rate * LISTS.emails)
        measured.print()
        measured.print_ratio("in lists, WEB_WORKERS=2", "raw commits")
        measured.print_ratio("in lists, WEB_WORKERS=1", "raw commits")

    def _fresh(self) -> Installation:
        return Installation(Path(tempfile.mkdtemp(dir=self._folder)))

    def _raw(self, environment: Mapping[str, str] | None = None) -> float:
        command = [sys.executable, str(BENCH / "support" / "raw_commits.py"), str(self._fresh().folder / "email.db")]
        environment = {"PATH": os.environ["PATH"], **(environment or {})}
        return float(subprocess.check_output([*command, str(self._seconds)], env=environment))

    def _load(
        self, workers: int, clients: int, requests: Requests = FORMS, project: Path = PROJECT, **environment: str
    ) -> Load:
        installation = self._fresh()
        if project != PROJECT:
            use_tables_of(project, installation)
        with served(installation, workers, project, **environment) as port:
            Wrk(port, clients, 1, requests).result()  # every thread has worked
            return checked(installation, Wrk(port, clients, self._seconds, requests), clients)

    def _slow_sync(self) -> dict[str, str]:
        library = self._folder / "slow_sync.so"
        subprocess.run(
            ["gcc", "-shared", "-fPIC", "-o", library, BENCH / "support" / "slow_sync.c", "-ldl"], check=True
        )
        return {"LD_PRELOAD": str(library), "SLOW_SYNC_US": SLOWER}


def use_tables_of(project: Path, installation: Installation) -> None:
    """Create the database of an installation again, as another commit of this program does."""
    for file in installation.folder.glob("email.db*"):
        file.unlink()
    command = [sys.executable, "-m", "flask", "init-db"]
    subprocess.run(command, cwd=project, env=installation.environment, stdout=subprocess.DEVNULL, check=True)


def checked(installation: Installation, wrk: Wrk, clients: int) -> Load:
    """Finish a load. Raise SystemExit if a response was an error or has no row. The last rows may lack a response."""
    load = wrk.result()
    with closing(driver.connect(installation.folder / "email.db")) as connection:
        ((rows,),) = connection.execute(ROWS, {"first": wrk.first_event_id, "apart": APART})
    each = wrk.requests.emails
    if load.errors or not load.answers * each <= rows <= (load.answers + clients) * each:
        raise SystemExit(f"{load.errors} errors; {load.answers} answers, {rows} rows")
    return load


def sent_a_second(installation: Installation, meanwhile: Callable[[], None] = lambda: None) -> float:
    """Return how many messages per second `task.py` sends. `meanwhile` is called at the first one."""
    process = installation.start_task()
    with installation.database() as database:
        before = wait_for_sent(database, 1)
        began = time.perf_counter()
        meanwhile()
        process.communicate()
        return (sent(database) - before) / (time.perf_counter() - began)


def both(installation: Installation) -> tuple[Load, float]:
    """Measure POSTs while a sender is running."""
    begun: list[Wrk] = []
    with served(installation, 2) as port:
        Wrk(port, CLIENTS, 1).result()
        rate = sent_a_second(installation, lambda: begun.append(Wrk(port, CLIENTS, 600)))
        begun[0].stop()
        return checked(installation, begun[0], CLIENTS), rate


def wait_for_sent(database: Database, count: int) -> int:
    while (found := sent(database)) < count:
        time.sleep(0.01)
    return found


def sent(database: Database) -> int:
    row = database.connection.fetch_one(SENT)
    return int(row[0]) if row else 0


def main() -> int:
    options = parsed()
    with tempfile.TemporaryDirectory() as name:
        print_machine(Path(name))
        post_rate = PostRate(Path(name), options)
        for part in options.only:
            print(f"\n{part}", flush=True)
            getattr(post_rate, part)()
        print()
        print_machine(Path(name))
    return 0


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of each measurement")
    parser.add_argument("--against", type=Path, help="a checkout of another commit that `rate` is compared with")
    parser.add_argument("--deliveries", type=int, default=50_000, help="of `beside`")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
