"""Five minutes of simultaneous faults. Afterwards, every acknowledged email is accounted for.

    python bench/chaos.py [MINUTES [SEED]]

Clients POST emails to RECIPIENTS people, due at once. Meanwhile web workers and senders are killed (-9), a sender is
stopped beyond its lease while another one runs, the disk is full, the database is locked, and the mail server freezes,
replies 451, and cuts connections before and after the final dot. Finally, the service gets time to finish. What the
mail server accepted is then compared with the responses that the clients received, and with the database.

Needs root, to mount a small file system for the database.
"""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import partial
from http.client import HTTPException
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from support.measured import PROJECT, free_port, print_machine, wait_for
from support.processes import children, started, words

from storage.senders.leases import LEASE_SECONDS
from tests.support.disk import fill
from tests.support.invariants import Found, Mailing, check
from tests.support.servers.smtp_server import Accepted, Action, Close, Reset, ScriptedServer, Wait
from tests.support.servers.web_server import DEFAULTS, Server

DISK = "48m"
RECIPIENTS = 20
CLIENTS = 4
SENDERS = 2
CONNECTIONS = 4  # of each sender
PAUSE = 0.1  # seconds between two POSTs of a client, on average
TRIES = 100  # retries of a POST whose connection breaks or that gets 503
OUTAGE = 10.0  # seconds for which the disk is full, or the database locked
UTC_8 = timezone(timedelta(hours=8))


@dataclass
class Ledger:
    """The responses that the clients received."""

    acknowledged: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)  # got only 503 responses
    unanswered: set[int] = field(default_factory=set)  # the connection broke each time, so it may or may not be saved
    answers: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


class MailServer:
    """Accepts most messages; defers some, cuts some connections around the final dot, and freezes now and then."""

    def __init__(self, seed: int) -> None:
        self.cuts: Counter[str] = Counter()
        self.frozen = threading.Event()
        self.is_calm = False
        self._random = random.Random(seed)
        self.server = ScriptedServer(on={"DATA": self._data, "CONTENT": self._content})

    def _data(self, line: bytes, number: int) -> Action:
        if not self.is_calm and self._random.random() < 0.003:
            self.cuts["before the dot"] += 1
            return "354 go on", Close()
        return None

    def _content(self, content: bytes, number: int) -> Action:
        if self.is_calm:
            return None
        delay = Wait(5.0 if self.frozen.is_set() else self._random.uniform(0, 0.01))
        chance = self._random.random()
        if chance < 0.003:
            self.cuts["after the dot, not accepted"] += 1
            return delay, Reset()
        if chance < 0.006:
            self.cuts["after the dot, accepted"] += 1
            self.server.script.accepted.append(accepted(content))
            return delay, Reset()
        return delay, "451 4.3.0 try again" if chance < 0.02 else "250 2.0.0 ok"


def accepted(content: bytes) -> Accepted:
    """Return the record of an accepted message whose reply the client never receives."""
    to = re.search(rb"^To: (\S+)\r$", content, re.MULTILINE)
    assert to is not None, content
    return Accepted(b"", to[1], content)


class Senders:
    """The senders of an installation, each started again when it dies, as systemd would."""

    def __init__(self, mailing: Mailing) -> None:
        self._mailing = mailing
        self._lock = threading.Lock()
        self._stopped: set[int] = set()
        self._running = [mailing.start_task("--watch") for _ in range(SENDERS)]

    def kill_one(self, source: random.Random) -> bool:
        """Kill a sender that is not stopped, and start another in its place; return whether there was one."""
        with self._lock:
            number = source.randrange(SENDERS)
            if number in self._stopped:
                return False
            sender = self._running[number]
            sender.send_signal(signal.SIGKILL)
            sender.communicate()
            self._running[number] = self._mailing.start_task("--watch")
            return True

    def stop_one(self, seconds: float, over: threading.Event) -> None:
        """Stop a sender (SIGSTOP) during its work, and resume it long after its lease has expired."""
        with self._lock:
            self._stopped.add(0)
            self._running[0].send_signal(signal.SIGSTOP)
        over.wait(seconds)
        with self._lock:
            self._running[0].send_signal(signal.SIGCONT)
            self._stopped.discard(0)

    def finish(self) -> None:
        """Ask all to stop, and wait for them."""
        for sender in self._running:
            sender.terminate()
        for sender in self._running:
            sender.communicate(timeout=90)


class Chaos:
    """The clients and the faults, each in a thread of its own."""

    def __init__(self, folder: Path, disk: Path, seed: int) -> None:
        self.ledger = Ledger()
        self.faults: Counter[str] = Counter()
        self.mail = MailServer(seed)
        self._seed = seed
        self._disk = disk
        self._over = threading.Event()
        self._event_ids = count(1)
        self.mailing = Mailing(
            folder,
            self.mail.server,
            0,
            DATABASE_URL=f"sqlite:///{disk}/email.db",
            SENDERS=f"{SENDERS}",
            SMTP_CONNECTIONS=f"{CONNECTIONS}",
        )
        self.mailing.add_recipients(RECIPIENTS)

    def run(self, seconds: float) -> Found:
        """Cause faults for this long, let the service finish, and check what happened to every email."""
        with self.mail.server:
            with web_part(self.mailing) as web:
                senders = Senders(self.mailing)
                self._until_over(seconds, [*self._clients(web), *self._troubles(seconds, web, senders)])
                senders.finish()
                self.mail.is_calm = True
            self.mailing.finish(sweeps=30)
        with self.mailing.database() as database:
            saved = {event_id for (event_id,) in database.connection.fetch_all("SELECT event_id FROM emails")}
            self._check_answers(saved)
            return check(database, self.mail.server.accepted, most_in_doubt=self.bound)

    @property
    def bound(self) -> int:
        """The maximum number of attempts in doubt: one for each connection that was cut, lost or frozen."""
        ends = self.faults["senders killed"] + self.faults["senders stopped beyond the lease"] + SENDERS
        return self.mail.cuts.total() + CONNECTIONS * ends

    def _until_over(self, seconds: float, acts: list[Callable[[], None]]) -> None:
        threads = [threading.Thread(target=act) for act in acts]
        for thread in threads:
            thread.start()
        self._over.wait(seconds)
        self._over.set()
        for thread in threads:
            thread.join()

    def _troubles(self, seconds: float, web: Server, senders: Senders) -> Iterator[Callable[[], None]]:
        """Yield the faults. The second half repeats the first."""
        source = random.Random(self._seed)
        half = seconds / 2
        yield lambda: self._every(3.0, "senders killed", lambda: senders.kill_one(source))
        yield lambda: self._every(8.0, "web workers killed", lambda: kill_younger_worker(web))
        yield lambda: self._every(half * 0.9, "senders stopped beyond the lease", lambda: self._stop_sender(senders))
        yield lambda: self._every(half * 0.3, "times the disk was full", self._fill_disk)
        yield lambda: self._every(half * 0.4, "times the database was locked", self._lock_database)
        yield lambda: self._every(half * 0.5, "times the mail server froze", self._freeze)

    def _every(self, seconds: float, name: str, act: Callable[[], bool]) -> None:
        while not self._over.wait(seconds):
            self.faults[name] += act()

    def _stop_sender(self, senders: Senders) -> bool:
        senders.stop_one(LEASE_SECONDS + OUTAGE, self._over)
        return True

    def _fill_disk(self) -> bool:
        filler = fill(self._disk)
        self._over.wait(OUTAGE)
        filler.unlink()
        return True

    def _lock_database(self) -> bool:
        with self.mailing.database() as database, database.connection.transaction():
            self._over.wait(OUTAGE)
        return True

    def _freeze(self) -> bool:
        self.mail.frozen.set()
        self._over.wait(OUTAGE)
        self.mail.frozen.clear()
        return True

    def _clients(self, web: Server) -> Iterator[Callable[[], None]]:
        for number in range(CLIENTS):
            yield partial(self._post_until_over, web, random.Random(self._seed + number))

    def _post_until_over(self, web: Server, source: random.Random) -> None:
        while not self._over.wait(source.uniform(0, 2 * PAUSE)):
            self._post(web, next(self._event_ids))

    def _post(self, web: Server, event_id: int) -> None:
        """POST an email until it is acknowledged, as a persistent client would. Sometimes give up."""
        due = f"{datetime.now(UTC_8):%F %T}"
        fields = {"event_id": event_id, "email_subject": f"{event_id}", "email_content": "x\n" * 100, "timestamp": due}
        broken = False
        for _ in range(1 if event_id % 3 == 0 else TRIES):
            try:
                answer = web.post(fields)
            except (OSError, HTTPException):
                broken = True
                self.ledger.answers["connection broke"] += 1
                time.sleep(0.1)
                continue
            self.ledger.answers[f"{answer.status} {answer.body[:20] if answer.status == 200 else ''}".strip()] += 1
            is_there = answer.status == 400 and "UNIQUE" in answer.body and "identical" in answer.body
            if (answer.status, answer.body) == (200, "Successful") or (broken and is_there):
                self.ledger.acknowledged.add(event_id)
                return
            if answer.status != 503:
                self.ledger.wrong.append(f"{event_id}: {answer.status} {answer.body[:200]}")
                return
            time.sleep(0.2)
        (self.ledger.unanswered if broken else self.ledger.refused).add(event_id)

    def _check_answers(self, saved: set[int]) -> None:
        ledger = self.ledger
        if lost := ledger.acknowledged - saved:
            ledger.wrong.append(f"acknowledged, but not in the database: {sorted(lost)[:10]}")
        if kept := ledger.refused & saved:
            ledger.wrong.append(f"answered with 503, but in the database: {sorted(kept)[:10]}")


@contextmanager
def web_part(mailing: Mailing) -> Iterator[Server]:
    """Run the web server as the service does: a worker that dies is replaced."""
    port, log = free_port(), mailing.folder / "web.log"
    environment = {**DEFAULTS, **mailing.environment, "WEB_WORKERS": "2", "LOG_FORMAT": "off"}
    command = [sys.executable, "-m", "serving.part", "web", "127.0.0.1", str(port)]
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdin=subprocess.PIPE, stdout=output, stderr=output
        ) as process,
    ):
        wait_for(port)
        yield Server("127.0.0.1", port, log, process)
        process.terminate()


def kill_younger_worker(web: Server) -> bool:
    """Kill a web worker, if there are two; return whether there were."""
    workers = sorted(
        (child for child in children(web.process.pid) if words(child) == words(web.process.pid)), key=started
    )
    if len(workers) < 2:
        return False
    with suppress(ProcessLookupError):
        os.kill(workers[-1], signal.SIGKILL)
    return True


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A small file system in memory, that fills up quickly."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 5.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(10**6)
    with tempfile.TemporaryDirectory() as name, small_disk(Path(name, "disk")) as disk:
        chaos = Chaos(Path(name), disk, seed)
        print_machine(Path(name))
        print(f"{minutes:g} minutes, seed {seed}", flush=True)
        found = chaos.run(60 * minutes)
    print_result(chaos, found)
    return 1 if chaos.ledger.wrong or found.lost else 0


def print_result(chaos: Chaos, found: Found) -> None:
    ledger = chaos.ledger
    for name, number in sorted({**chaos.faults, **{f"cut {when}": n for when, n in chaos.mail.cuts.items()}}.items()):
        print(f"{number:7,} {name}")
    print("; ".join(f"{number:,} × {answer}" for answer, number in ledger.answers.most_common()))
    print(
        f"{len(ledger.acknowledged):,} emails acknowledged, {len(ledger.refused):,} refused with 503, "
        f"{len(ledger.unanswered):,} without an answer; deliveries: {dict(found.statuses)}\n"
        f"lost {found.lost}; in doubt {found.in_doubt:,} (bound {chaos.bound:,}); doubled {found.doubled:,}, each of "
        f"them after an attempt in doubt; {'; '.join(ledger.wrong) or 'every response was correct'}"
    )


if __name__ == "__main__":
    sys.exit(main())
