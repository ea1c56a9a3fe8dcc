"""The fast path of `task.py`: it says "idle" only when a full sweep would do nothing."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from database import EVERYONE, Address, Audience, Database, DBError, Delivery, DeliveryUpdate, Email
from storage.idle import idle_sweep
from tests.support.in_process import die, sweep_once
from tests.support.installation import PROJECT, Installation

KEEP_FOR = 30 * 24 * 60 * 60
HEARTBEAT = ("INSERT INTO \"counters\" VALUES('last_sweep_at'", 'INSERT INTO "host_clocks"')
NUMBERS = st.integers(1, 4)
LISTS = st.sampled_from(["a", "b"])
AUDIENCES = st.sampled_from(
    [
        *(EVERYONE, EVERYONE, Audience(("a",)), Audience(("a", "b")), Audience(("a",), ("b",)), Audience((), ("a",))),
        Audience(to=(Address("p1@example.com", "p1@example.com"), Address("new@example.com", "new@example.com"))),
    ]
)
AN_HOUR_AGO = "UPDATE counters SET value = value - 3600 WHERE name = 'last_sweep_at'"


def is_idle(installation: Installation, ahead: int = 0) -> bool:
    path = installation.settings.database_path
    assert path is not None
    with idle_sweep(path, ahead, installation.settings.keep_for) as idle:
        return idle


def change(installation: Installation, sql: str, **values: object) -> None:
    with installation.database() as database, database.connection.transaction():
        database.connection.execute(sql, **values)


def contents(installation: Installation) -> list[str]:
    """Everything in the database except the heartbeat."""
    path = installation.settings.database_path
    assert path is not None
    with closing(sqlite3.connect(path)) as connection:
        return [line for line in connection.iterdump() if not line.startswith(HEARTBEAT)]


def would_do_something(installation: Installation) -> bool:
    """Run a full sweep on a copy, and return whether it changed the database, sent mail or reported an error."""
    with tempfile.TemporaryDirectory() as folder:
        path = installation.settings.database_path
        assert path is not None
        for file in path.parent.glob(f"{path.name}*"):  # with the locks of senders
            shutil.copy(file, folder)
        copy = Installation(Path(folder), KEEP_FOR=f"{KEEP_FOR}s")
        before = contents(copy)
        errors = sweep_once(copy)
        return bool(errors) or contents(copy) != before


class RandomActs(RuleBasedStateMachine):
    """Random actions of people, programs, crashes and clocks on an installation."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._installation = Installation(Path(self._folder.name), KEEP_FOR=f"{KEEP_FOR}s")
        self._installation.add_recipients(2)

    def teardown(self) -> None:
        self._folder.cleanup()

    @invariant()
    def idle_means_that_there_is_nothing_to_do(self) -> None:
        if is_idle(self._installation):
            assert not would_do_something(self._installation)

    @rule(event_id=NUMBERS, due_in=st.sampled_from([-3600, -1, 3600]), audience=AUDIENCES)
    def save(self, event_id: int, due_in: int, audience: Audience) -> None:
        due_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=due_in)
        email = Email(event_id, "S", "C\n", due_at, audience=audience)
        self._try(lambda database: database.emails.save(email, datetime.now(UTC)))

    @rule(name=LISTS)
    def a_list_is_created(self, name: str) -> None:
        self._try(lambda database: database.lists.add(name, datetime.now(UTC)))

    @rule(name=LISTS, first=NUMBERS, count=NUMBERS)
    def its_members_are_replaced(self, name: str, first: int, count: int) -> None:
        members = [Address(f"p{n}@example.com", f"p{n}@example.com") for n in range(first, first + count)]
        self._try(lambda database: database.lists.replace_members(name, members, datetime.now(UTC), "program"))

    @rule(number=NUMBERS, list_id=st.integers(1, 2))
    def leave(self, number: int, list_id: int) -> None:
        self._try(lambda database: database.lists.leave(number, [list_id], datetime.now(UTC)))

    @rule(name=LISTS)
    def a_list_is_deleted(self, name: str) -> None:
        self._try(lambda database: database.lists.delete(name, datetime.now(UTC)))

    @rule()
    def sweep(self) -> None:
        sweep_once(self._installation)

    @rule(event_id=NUMBERS)
    def cancel(self, event_id: int) -> None:
        self._try(lambda database: database.emails.cancel(event_id, datetime.now(UTC)))

    @rule(event_id=NUMBERS)
    def release(self, event_id: int) -> None:
        self._try(lambda database: database.emails.release(event_id, datetime.now(UTC)))

    @rule(event_id=NUMBERS)
    def retry(self, event_id: int) -> None:
        self._try(lambda database: database.deliveries.retry(event_id, datetime.now(UTC)))

    @rule(event_id=NUMBERS)
    def an_operator_makes_it_due(self, event_id: int) -> None:
        change(self._installation, "UPDATE emails SET due_at = 0 WHERE event_id = :event_id", event_id=event_id)

    @rule(count=st.integers(1, 5))
    def add_recipients(self, count: int) -> None:
        self._installation.add_recipients(count)

    @rule(number=st.integers(1, 5))
    def unsubscribe(self, number: int) -> None:
        self._try(lambda database: database.recipients.unsubscribe(number, datetime.now(UTC)))

    @rule(
        outcome=st.sampled_from(["failed", "unknown", "queued"]), later=st.sampled_from([0, 3600]), dies=st.booleans()
    )
    def a_sender_settles_one_delivery(self, outcome: str, later: int, dies: bool) -> None:
        now = int(time.time())

        def settle(delivery: Delivery) -> DeliveryUpdate:
            return DeliveryUpdate(delivery.event_id, delivery.recipient_id, "in_doubt", "queued", "died", now, now)

        with self._installation.database() as database:
            sender_id = database.senders.register(9, now, settle)
            assert sender_id is not None
            database.progress.start_due_emails(now)
            for event_id, recipient_id, _ in database.claims.claim(sender_id, 0, now, 1):
                result = DeliveryUpdate(event_id, recipient_id, "failed", outcome, "no", now, now + later)
                database.deliveries.record(sender_id, [], [result], [])
            if dies:
                die(database)
            else:
                database.senders.unregister(sender_id, settle)

    @rule()
    def a_line_in_the_log_is_still_to_be_written(self) -> None:
        change(self._installation, "UPDATE emails SET logged = 0 WHERE status = 'sent'")

    @rule()
    def time_passes_for_finished_emails(self) -> None:
        change(self._installation, "UPDATE emails SET finished_at = :then", then=int(time.time()) - 2 * KEEP_FOR)

    @rule()
    def it_is_restored_from_a_backup(self) -> None:
        with self._installation.database() as database:
            database.progress.mark_as_backup(int(time.time()))

    @rule()
    def the_machine_restarts(self) -> None:
        change(self._installation, "UPDATE meta SET value = 'before' WHERE name = 'boot'")

    @rule(days=st.sampled_from([-400, 2]))
    def the_clock_jumps(self, days: int) -> None:
        last = int(time.time()) + days * 24 * 60 * 60
        change(self._installation, "UPDATE counters SET value = :last WHERE name = 'last_sweep_at'", last=last)

    @rule(hours=st.sampled_from([-2, 2]))
    def the_clock_is_set(self, hours: int) -> None:
        change(self._installation, "UPDATE host_clocks SET offset_seconds = offset_seconds + :s", s=hours * 3600)

    @rule()
    def the_clock_is_right(self) -> None:
        with self._installation.database() as database:
            database.record_heartbeat(int(time.time()))

    def _try(self, act: Callable[[Database], object]) -> None:
        """Run an action. Refusals are ignored."""
        with self._installation.database() as database:
            try:
                act(database)
            except DBError as error:
                print(error)


RandomActs.TestCase.settings = hypothesis_settings(
    max_examples=15,
    stateful_step_count=15,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    suppress_health_check=[HealthCheck.too_slow],
)
TestIdleMeansNothingToDo = RandomActs.TestCase


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    installed = Installation(tmp_path, KEEP_FOR=f"{KEEP_FOR}s")
    installed.add_recipients(2)
    installed.save_email(1)
    installed.save_email(2, due_in=3600)
    sweep_once(installed)
    return installed


def test_after_a_sweep_it_is_idle_and_the_heartbeat_is_recorded(installation: Installation) -> None:
    change(installation, AN_HOUR_AGO)
    assert is_idle(installation)
    with installation.database() as database:
        assert time.time() - database.last_heartbeat_at() < 60
    before = contents(installation)
    assert is_idle(installation)
    assert contents(installation) == before


def test_a_heartbeat_is_recorded_twice_a_minute_at_most(installation: Installation) -> None:
    with installation.database() as database:
        recorded = database.last_heartbeat_at()
        assert is_idle(installation)
        assert database.last_heartbeat_at() == recorded


def test_it_looks_ahead(installation: Installation) -> None:
    assert is_idle(installation, ahead=60)
    assert not is_idle(installation, ahead=3601)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE emails SET due_at = 0 WHERE event_id = 2",
        "UPDATE emails SET logged = 0",
        "UPDATE emails SET finished_at = 1 WHERE event_id = 1",
        "UPDATE progress SET cursor_id = 0",
        "UPDATE meta SET value = '999' WHERE name = 'schema_version'",
        "UPDATE meta SET value = 'another' WHERE name = 'boot'",
        "DELETE FROM counters WHERE name = 'last_sweep_at'",
        "UPDATE counters SET value = value + 100000 WHERE name = 'last_sweep_at'",
        "UPDATE counters SET value = 1 WHERE name = 'last_sweep_at'",
        "UPDATE host_clocks SET offset_seconds = offset_seconds + 3600",
        "UPDATE host_clocks SET offset_seconds = offset_seconds - 3600",
        "DELETE FROM host_clocks",
        "INSERT INTO sender_errors (kind, reason, since) VALUES ('clock', '', 1)",
        "INSERT INTO counters (name, value) VALUES ('backup_made_at', 1)",
        "INSERT INTO senders (sender_id, clock, lease_until, process_id, started_at, heartbeat_at) "
        "VALUES (1, '', 1, 1, 1, 1)",
        "DROP TABLE senders",
    ],
)
def test_anything_unusual_is_left_to_the_full_program(installation: Installation, sql: str) -> None:
    assert is_idle(installation)
    change(installation, sql)
    assert not is_idle(installation)


def test_a_delivery_that_is_due_again_is_work(installation: Installation) -> None:
    change(installation, "UPDATE emails SET status = 'sending', finished_at = NULL WHERE event_id = 1")
    change(installation, "UPDATE deliveries SET status = 'queued', finished_at = NULL, next_attempt_at = :now", now=1)
    assert not is_idle(installation)
    change(installation, "UPDATE deliveries SET next_attempt_at = :later", later=int(time.time()) + 3600)
    assert is_idle(installation)


def test_recipients_that_wait_to_be_indexed_are_work(installation: Installation) -> None:
    for sql in (
        "UPDATE counters SET value = 8191 WHERE name = 'recipient_id'",
        "UPDATE search_chunks SET state = 1",
    ):
        change(installation, sql)
        assert not is_idle(installation)
        assert sweep_once(installation) == []
        assert is_idle(installation)


def test_a_database_that_is_missing_locked_or_damaged_is_left_to_the_full_program(installation: Installation) -> None:
    path = installation.settings.database_path
    assert path is not None
    change(installation, AN_HOUR_AGO)
    with installation.database() as database, database.connection.transaction():
        assert not is_idle(installation)  # the heartbeat could not be recorded
    path.write_bytes(b"not a database")
    assert not is_idle(installation)
    path.unlink()
    assert not is_idle(installation)
    assert not path.exists()


def test_an_idle_sweep_imports_only_the_settings_and_the_question(installation: Installation) -> None:
    code = (
        "import sys, task\n"
        "print(task.main([]), task.main(['--ahead', '60']))\n"
        "print(*sorted(name for name in sys.modules if name.partition('.')[0] in sys.argv[1:]))"
    )
    packages = sorted({path.parent.name for path in PROJECT.glob("*/__init__.py")})
    done = subprocess.run(
        [sys.executable, "-c", code, *packages, "database", "flask"],
        cwd=PROJECT,
        env=installation.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    codes, imported = done.stdout.splitlines()
    assert codes == "0 0"
    assert imported.split() == [
        "settings",
        "settings.defaults",
        "settings.parse",
        "storage",
        "storage.clock",
        "storage.idle",
        "storage.schema",
        "storage.schema.version",
        "storage.sqlite",
        "storage.sqlite.driver",
    ]


def test_after_a_restart_the_log_is_left_for_the_full_program_to_check(
    installation: Installation, tmp_path: Path
) -> None:
    copy = tmp_path / "after the restart"
    with installation.database():  # keeps the log
        change(installation, "UPDATE meta SET value = 'before' WHERE name = 'boot'")
        copy.mkdir()
        for file in tmp_path.glob("email.db*"):
            shutil.copy(file, copy)
    log = copy / "email.db-wal"
    assert log.stat().st_size > 0
    with idle_sweep(copy / "email.db", 0, 0) as idle:
        assert not idle
        assert log.stat().st_size > 0
