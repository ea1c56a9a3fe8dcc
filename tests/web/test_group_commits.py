"""Concurrent requests save emails in groups. Each gets its own response, after the commit is durable."""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from database import DatabaseBusy, DatabaseFull, Email, EmailWriter, EventIdUsed
from storage.sqlite.write_lock import WriteLock
from tests.support.faults.failing_calls import FailingDriver, Fault, broken_disk
from tests.support.faults.killer import STRACE, killed_before, wait_until
from tests.support.faults.power_cut import Disk, traced
from tests.support.installation import Installation
from tests.support.servers.web_server import FORM, Server, serve

NOW = datetime(2030, 1, 1, tzinfo=UTC)
RUNNER = (sys.executable, str(Path(__file__).parents[1] / "support" / "save_emails.py"))
needs_strace = pytest.mark.skipif(STRACE is None, reason="strace is not installed")


def email(event_id: int, content: str = "C") -> Email:
    return Email(event_id, "S", content, NOW)


class Writers:
    """Threads that each save an email, and wait until all of them are in one group."""

    def __init__(self, installation: Installation, wait: float = 5.0) -> None:
        self.installation = installation
        self.writer = EmailWriter(installation.settings, wait)
        self._pool = ThreadPoolExecutor(32)
        self._go = threading.Event()
        self._commit = self.writer._group_commit._commit
        self.writer._group_commit._commit = self._wait_and_commit

    def save(self, *emails: Email) -> list[BaseException | None]:
        """Save all together, and return the result of each."""
        self._go.clear()
        futures: list[Future[None]] = []
        for number, one in enumerate(emails, 1):
            futures.append(self._pool.submit(self.writer.save, one, NOW))
            self._wait_for(number)
        self._go.set()
        return [future.exception(20) for future in futures]

    def saved(self) -> Counter[int]:
        """Return the event_ids in the database."""
        with self.installation.database() as database:
            return Counter(row[0] for row in database.connection.fetch_all("SELECT event_id FROM emails"))

    def close(self) -> None:
        self._pool.shutdown()
        self.writer.close()

    def _wait_for(self, number: int) -> None:
        wait_until(lambda: len(self.writer._group_commit._queue) == number)

    def _wait_and_commit(self, drain_queue: Any) -> Any:
        assert self._go.wait(20)
        return self._commit(drain_queue)


@pytest.fixture
def writers(tmp_path: Path, where: dict[str, str]) -> Iterator[Writers]:
    writers = Writers(Installation(tmp_path, **where))
    yield writers
    writers.close()


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Iterator[Writers]:
    writers = Writers(Installation(tmp_path))
    yield writers
    writers.close()


def told(errors: list[BaseException | None]) -> list[str]:
    """Return each response as one word."""
    words = []
    for error in errors:
        if isinstance(error, EventIdUsed):
            words.append("identical" if error.identical else "different")
        else:
            words.append("saved" if error is None else type(error).__name__)
    return words


def test_of_a_group_each_gets_its_own_answer(writers: Writers) -> None:
    assert told(writers.save(email(3))) == ["saved"]
    answers = writers.save(email(5), email(3), email(1), email(5), email(5, "other"), email(3, "other"), email(-2))
    assert told(answers) == ["saved", "identical", "saved", "identical", "different", "different", "saved"]
    assert writers.saved() == Counter([-2, 1, 3, 5])


def test_a_group_is_one_transaction(writers: Writers) -> None:
    writers.save(email(0))
    begun = transactions_of(writers.writer.connect().connection)
    assert told(writers.save(*map(email, range(1, 9)))) == ["saved"] * 8
    assert begun.count("BEGIN") == 1


def transactions_of(connection: Any) -> list[str]:
    """Return a list that collects the first word of each statement from now on."""
    words: list[str] = []
    name = "execute" if connection.engine == "sqlite" else "_execute"
    real = getattr(connection, name)

    def noted(sql: str, *values: Any, **named: Any) -> Any:
        words.append(sql.split()[0].rstrip(";"))
        return real(sql, *values, **named)

    setattr(connection, name, noted)
    return words


def test_two_groups_with_the_same_event_ids_in_different_orders_never_wait_for_each_other(
    writers: Writers, request: pytest.FixtureRequest
) -> None:
    other = Writers(writers.installation)
    request.addfinalizer(other.close)
    for first in range(0, 400, 20):
        ids = range(first, first + 20)
        with ThreadPoolExecutor(2) as both:
            one = both.submit(writers.save, *map(email, ids))
            two = both.submit(other.save, *map(email, reversed(ids)))
        assert Counter(told(one.result()) + told(two.result())) == {"saved": 20, "identical": 20}


def test_a_group_on_a_full_disk_saves_nothing_and_the_next_goes_on(on_sqlite: Writers) -> None:
    on_sqlite.writer.connect().connection.fetch_all("PRAGMA max_page_count = 1")  # not one page more
    big = [email(number, "x" * 100_000) for number in range(8)]
    assert {type(error) for error in on_sqlite.save(*big)} == {DatabaseFull}
    assert on_sqlite.saved() == Counter()
    assert told(on_sqlite.save(*big)) == ["saved"] * 8  # by a new connection, without the limit


def test_a_group_that_finds_the_database_locked_is_refused_and_nothing_is_saved_later(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    writer = EmailWriter(installation.settings, wait=0.3)
    lock = WriteLock(tmp_path / "email.db")
    lock.acquire(1)
    with ThreadPoolExecutor(8) as pool:
        leader = pool.submit(writer.save, email(0), NOW)
        wait_until(lambda: len(writer._group_commit._queue) == 1)
        others = [pool.submit(writer.save, email(number), NOW) for number in range(1, 8)]
        assert {type(other.exception(5)) for other in others} == {DatabaseBusy}
        lock.release()
        assert leader.exception(10) is None
    with installation.database() as database:
        assert database.connection.fetch_all("SELECT event_id FROM emails") == [(0,)]
    lock.close()
    writer.close()


def test_a_group_goes_into_the_database_that_was_put_in_the_old_ones_place(on_sqlite: Writers) -> None:
    assert told(on_sqlite.save(email(1), email(2))) == ["saved"] * 2
    for file in on_sqlite.installation.folder.glob("email.db*"):
        file.unlink()
    assert told(on_sqlite.save(email(3), email(4))) == ["DatabaseMissing"] * 2
    Installation(on_sqlite.installation.folder)
    assert told(on_sqlite.save(email(3), email(4))) == ["saved"] * 2
    assert on_sqlite.saved() == Counter([3, 4])


def test_a_database_call_that_fails_in_a_group_is_told_to_all_and_saves_nothing(tmp_path: Path) -> None:
    """For each N, only emails reported as saved are in the database, and repeating the group succeeds."""
    emails = [email(1), email(2), email(3, "new"), email(2, "other"), email(4)]
    for number in itertools.count(1):
        (tmp_path / f"{number}").mkdir()
        writers = Writers(Installation(tmp_path / f"{number}"))
        writers.save(email(3))
        fault = Fault(number, broken_disk)
        connection: Any = writers.writer.connect().connection
        connection._connection = FailingDriver(connection._connection, fault)
        answers = told(writers.save(*emails))
        wanted = ["saved", "saved", "different", "different", "saved"]
        assert answers == (["DatabaseUnavailable"] * 5 if fault.happened else wanted), number
        assert writers.saved() == Counter([3] if fault.happened else [1, 2, 3, 4]), number
        if not fault.happened:
            writers.close()
            break
        assert told(writers.save(*emails)) == wanted
        assert writers.saved() == Counter([1, 2, 3, 4])
        writers.close()
    print(f"{number - 1} database calls")
    assert number > 8


@needs_strace
@pytest.mark.parametrize(("call", "stride"), [("fsync,fdatasync", 1), ("pwrite64", 5)])
def test_what_was_answered_is_saved_though_the_process_is_killed_before_any_write(
    call: str, stride: int, tmp_path: Path
) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    print(f"SEED={seed}")
    number = 1 + seed % stride
    while _keeps_its_word(tmp_path / f"{number}", call, number):
        number += stride
    assert number > 2


def _keeps_its_word(folder: Path, call: str, number: int) -> bool:
    folder.mkdir()
    installation = Installation(folder)
    killed = killed_before(installation, call, number, (*RUNNER, str(folder)))
    answered = folder / "answered"
    promised = {int(line) for line in answered.read_text().split()} if answered.exists() else set()
    with installation.database() as database:
        assert promised <= {row[0] for row in database.connection.fetch_all("SELECT event_id FROM emails")}, number
    return killed


@needs_strace
def test_what_was_answered_is_saved_though_the_power_is_cut_at_any_time(tmp_path: Path) -> None:
    """The runner's barrier forms groups, so that there are fewer syncs than responses."""
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    print(f"SEED={seed}")
    luck = random.Random(seed)
    run, later = tmp_path / "run", tmp_path / "later"
    run.mkdir()
    later.mkdir()
    installation = Installation(run)
    before = {"email.db": (run / "email.db").read_bytes()}
    calls = "write,pwrite64,ftruncate,fsync,fdatasync"
    events = traced(installation, tmp_path / "trace", (*RUNNER, str(run)), calls)
    disk, answered, syncs = Disk(before), list[int](), 0
    for event in events:
        if event.file == "answered":
            answered.append(int(event.data))
            for lucky in (None, luck):
                assert set(answered) <= _after_a_cut(later, disk.after_a_power_cut(lucky))
        elif event.file.startswith("email.db"):
            disk.apply(event)
            syncs += event.name in ("fsync", "fdatasync")
    assert len(answered) == 24 > syncs


def _after_a_cut(folder: Path, files: dict[str, bytes]) -> set[int]:
    for file in folder.glob("email.db*"):
        file.unlink()
    for name in ("email.db", "email.db-wal"):
        if name in files:
            (folder / name).write_bytes(files[name])
    with Installation(folder).database() as database:
        return {row[0] for row in database.connection.fetch_all("SELECT event_id FROM emails")}


CLIENTS, IDS = 8, 200


def test_of_eight_clients_with_the_same_event_ids_each_id_succeeds_once(
    tmp_path: Path, where: dict[str, str], free_port: int
) -> None:
    installation = Installation(tmp_path, **where)
    with serve(tmp_path, free_port, WEB_WORKERS="2", **where) as server, ThreadPoolExecutor(CLIENTS) as clients:
        answers = [answer for each in clients.map(partial(post_all, server), range(CLIENTS)) for answer in each]
    with installation.database() as database:
        rows = database.connection.fetch_all("SELECT event_id, content FROM emails ORDER BY event_id")
    assert Counter(status for _, _, status in answers) == {200: IDS, 400: (CLIENTS - 1) * IDS}
    assert [(event_id, str(client)) for event_id, client, status in sorted(answers) if status == 200] == rows


def post_all(server: Server, client: int) -> list[tuple[int, int, int]]:
    """Send all POSTs, and return (event_id, client, status) of each."""
    answers = []
    for event_id in range(IDS):
        form = {"event_id": event_id, "email_subject": "S", "email_content": client, "timestamp": "2099-01-02 08:00:00"}
        answer = server.request("POST", "/send-emails", urlencode(form).encode(), FORM)
        answers.append((event_id, client, answer.status))
    return answers
