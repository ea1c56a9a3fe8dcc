"""kill -9 of commands that write to the database: it stays intact, and everything is sent once afterwards."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from database import Address, DatabaseMissing
from tests.support.faults.killer import STRACE, killed_before
from tests.support.in_process import sweep_once
from tests.support.installation import PROJECT
from tests.support.invariants import Mailing, check_whole
from tests.support.servers.smtp_server import ScriptedServer

pytestmark = pytest.mark.skipif(STRACE is None, reason="strace is not installed")
FLASK = (sys.executable, "-m", "flask", "--app", "email_app")
RUN_SQL = "import sqlite3, sys; sqlite3.connect(sys.argv[1], isolation_level=None).execute(sys.argv[2]).fetchall()"
SYNCS = "fsync,fdatasync"
OLD, NEW = 20, 300  # recipients


class Survivor(Mailing):
    """An installation that is checked after each kill, also by a sweep."""

    def __init__(self, folder: Path, server: ScriptedServer) -> None:
        super().__init__(folder, server, 0)
        self.environment["PYTHONPATH"] = str(PROJECT)
        self.add_recipients(OLD)
        self.counts: list[int] = []  # recipients, at each check

    def look(self) -> None:
        """Check that the database is intact, and that an email reaches everyone in it."""
        with self.database() as database:
            check_whole(database)
            self.counts.append(database.recipients.counts()["active"])
        number = len(self.counts)
        self.save_email(number, subject=str(number))
        assert sweep_once(self) == []

    def is_killed_before_each(self, call: str, stride: int, *program: str, look: Callable[[], None]) -> int:
        """Run it, killed before every `stride`-th such call, until one run completes. Call `look` after each."""
        seed = int(os.environ.get("SEED") or random.randrange(10**6))
        print(f"SEED={seed}")
        number = 1 + seed % stride
        kills = 0
        while killed_before(self, call, number, program):
            kills += 1
            look()
            number += stride
        look()
        return kills

    def sent_everything_once(self) -> bool:
        """Check that each email reached everyone who was a recipient when it was sent."""
        found = self.check(most_in_doubt=0)
        return (found.statuses, found.doubled) == ({"sent": sum(self.counts)}, 0)

    def sql(self, statement: str) -> tuple[str, ...]:
        """Return a command that runs SQL as an operator would."""
        return (sys.executable, "-c", RUN_SQL, str(self.settings.database_path), statement)


@pytest.fixture
def survivor(tmp_path: Path) -> Iterator[Survivor]:
    with ScriptedServer() as server:
        yield Survivor(tmp_path, server)


@pytest.mark.parametrize(("call", "stride"), [(SYNCS, 3), ("pwrite64", 35)])
def test_an_import_killed_before_any_write_is_all_or_nothing(call: str, stride: int, survivor: Survivor) -> None:
    file = survivor.folder / "people.csv"
    file.write_text("".join(f"person{number}@example.com\n" for number in range(NEW)))
    command = (*FLASK, "recipients", "import", str(file))
    assert survivor.is_killed_before_each(call, stride, *command, look=survivor.look) >= 1
    assert set(survivor.counts) <= {OLD, OLD + NEW}
    assert survivor.counts[-1] == OLD + NEW
    assert survivor.sent_everything_once()


@pytest.mark.parametrize(("call", "stride"), [(SYNCS, 1), ("pwrite64", 13), ("ftruncate", 1), ("unlink", 1)])
def test_a_vacuum_killed_before_any_write_changes_nothing(call: str, stride: int, survivor: Survivor) -> None:
    survivor.add_recipients(NEW)
    with survivor.database() as database:  # it moves the other rows into the pages of those that were removed
        database.recipients.remove((Address(*[f"r{n}@example.com"] * 2) for n in range(NEW - OLD)), datetime.now(UTC))
    assert survivor.is_killed_before_each(call, stride, *survivor.sql("VACUUM"), look=survivor.look) >= 1
    assert set(survivor.counts) == {OLD}
    assert survivor.sent_everything_once()


@pytest.mark.parametrize(("call", "stride"), [(SYNCS, 1), ("pwrite64", 3), ("ftruncate", 1)])
def test_a_checkpoint_killed_before_any_write_loses_no_commit(call: str, stride: int, survivor: Survivor) -> None:
    """Neither an earlier nor a later one. A connection that stays open sees the same."""
    checkpoint = survivor.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    with survivor.database() as beside:  # otherwise the last connection to close would run a checkpoint
        survivor.add_recipients(OLD + NEW)

        def look() -> None:
            survivor.look()
            check_whole(beside)

        assert survivor.is_killed_before_each(call, stride, *checkpoint, look=look) >= 1
        assert beside.recipients.counts()["active"] == OLD + NEW
    assert set(survivor.counts) == {OLD + NEW}
    assert survivor.sent_everything_once()


@pytest.mark.parametrize(("call", "stride"), [(SYNCS, 5), ("pwrite64", 60)])
def test_an_init_db_that_was_killed_is_completed_by_the_next_one(call: str, stride: int, survivor: Survivor) -> None:
    def look() -> None:
        with suppress(DatabaseMissing), survivor.database() as database:
            check_whole(database)
        made_again = subprocess.run([*FLASK, "init-db"], env=survivor.environment, capture_output=True, check=False)
        assert (made_again.returncode, made_again.stderr) == (0, b"")
        survivor.add_recipients(2)
        survivor.counts.clear()
        survivor.look()
        assert survivor.sent_everything_once()
        remove_database()

    def remove_database() -> None:
        survivor.server.accepted.clear()
        for file in survivor.folder.glob("email.db*"):
            file.unlink()

    remove_database()
    assert survivor.is_killed_before_each(call, stride, *FLASK, "init-db", look=look) >= 1
