"""`flask backup`: a complete copy of a database in use, and what happens after a restore."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from database import Database, Email, open_database
from settings import Settings, load_settings
from tests.support.faults.killer import STRACE, killed_before
from tests.support.installation import PROJECT, Installation
from tests.support.recipients_command import commands_of

FLASK = (sys.executable, "-m", "flask", "--app", "email_app")


def save(database: Database, event_id: int, due_in: float = 3600) -> None:
    due_at = datetime.fromtimestamp(int(time.time() + due_in), UTC)
    database.emails.save(Email(event_id, "Subject", "x" * 500, due_at), datetime.now(UTC))


def opened(file: Path) -> Settings:
    return load_settings({"DATABASE_URL": f"sqlite:///{file}"}, file.parent)


def test_a_backup_is_whole_private_and_marked(settings: Settings, database: Database, tmp_path: Path) -> None:
    save(database, 1)
    result = commands_of(settings, "backup")(str(tmp_path / "copy.db"))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "1 emails" in result.stdout
    assert (tmp_path / "copy.db").stat().st_mode & 0o777 == 0o600
    with open_database(opened(tmp_path / "copy.db")) as copy:
        assert [email and email.subject for email in map(copy.emails.get, (1, 2))] == ["Subject", None]
        made_at = copy.info().backup_made_at
        assert made_at is not None and abs(made_at - datetime.now(UTC)) < timedelta(seconds=5)
    assert database.info().backup_made_at is None


def test_the_same_as_json(settings: Settings, database: Database, tmp_path: Path) -> None:
    save(database, 1)
    told = json.loads(commands_of(settings, "backup")(str(tmp_path / "copy.db"), "--json").stdout)
    assert told["file"] == str(tmp_path / "copy.db")
    assert (told["rows"]["emails"], told["rows"]["deliveries"]) == (1, 0)
    assert told["bytes"] == (tmp_path / "copy.db").stat().st_size


def test_a_backup_leaves_nothing_beside_it(settings: Settings, database: Database, tmp_path: Path) -> None:
    target = tmp_path / "backups" / "copy.db"
    target.parent.mkdir()
    for _ in range(2):  # the second replaces the first
        assert commands_of(settings, "backup")(str(target)).exit_code == 0
    assert list(target.parent.iterdir()) == [target]


def test_others_write_while_it_is_made_and_it_is_of_one_moment(
    settings: Settings, database: Database, tmp_path: Path
) -> None:
    """Each transaction saves two emails, so an inconsistent copy would have an odd number."""
    with database.connection.transaction():
        for event_id in range(2000):
            save(database, event_id)
    saved, stop = [0], threading.Event()

    def write() -> None:
        with open_database(settings) as other:
            while not stop.is_set():
                with other.connection.transaction():
                    save(other, 10_000 + saved[0])
                    save(other, 10_001 + saved[0])
                saved[0] += 2

    writer = threading.Thread(target=write)
    writer.start()
    try:
        counts: list[int] = []
        most = 0
        while len(counts) < 3 or most < 3 * 2:  # two transactions may end and begin outside it
            before = saved[0]
            rows = database.back_up(tmp_path / f"{len(counts)}.db", datetime.now(UTC))
            counts.append(rows["emails"])
            most = max(most, saved[0] - before)
            assert len(counts) < 100, "the writer was kept out"
    finally:
        stop.set()
        writer.join()
    assert all(count % 2 == 0 for count in counts)
    assert counts[0] >= 2000 and counts == sorted(counts) and counts[-1] <= 2000 + saved[0]


@pytest.mark.parametrize(
    ("target", "complaint"),
    [
        ("email.db", "is the database itself"),
        ("link.db", "is the database itself"),
        (".", "is not a regular file"),
        ("used.db", "used.db-wal belongs to an earlier database at this path"),
        ("no/such/folder.db", "No such file or directory"),
    ],
)
def test_a_place_that_would_do_harm_is_refused(
    settings: Settings, database: Database, tmp_path: Path, target: str, complaint: str
) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "email.db")
    (tmp_path / "used.db-wal").write_bytes(b"frames")
    before = sorted(tmp_path.iterdir())
    result = commands_of(settings, "backup")(str(tmp_path / target))
    assert (result.exit_code, result.stdout) == (1, "")
    assert complaint in result.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_database_gives_no_backup(settings: Settings, database: Database, tmp_path: Path) -> None:
    database.connection.execute("CREATE TABLE odd (a TEXT CHECK (a = 'b'))")
    database.connection.execute("PRAGMA ignore_check_constraints = 1")
    database.connection.execute("INSERT INTO odd VALUES ('c')")
    result = commands_of(settings, "backup")(str(tmp_path / "copy.db"))
    assert result.exit_code == 1
    assert "the database is damaged, and no backup was made: CHECK constraint failed in odd" in result.stderr
    assert not (tmp_path / "copy.db").exists()


@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
def test_a_backup_that_is_killed_leaves_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    installation = Installation(tmp_path, PYTHONPATH=str(PROJECT))
    target, sizes = tmp_path / "backups" / "copy.db", set()
    target.parent.mkdir()
    with installation.database() as database:
        database.back_up(target, datetime.now(UTC))
        for event_id in range(300):
            save(database, event_id)
    calls = ("fsync,fdatasync", "rename", "pwrite64", "unlink,unlinkat")
    for call, stride in zip(calls, (1, 1, 150, 5), strict=True):
        number = 1
        while killed_before(installation, call, number, (*FLASK, "backup", str(target))):
            number += stride
            connection = sqlite3.connect(target)
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            sizes.add(connection.execute("SELECT COUNT(*) FROM emails").fetchone()[0])
            connection.close()
        assert number > 1, call
    assert sizes <= {0, 300} and 0 in sizes
    with installation.database() as database:
        assert database.health.integrity_check(60) == []


def test_a_full_disk_leaves_no_half_backup(tmp_path: Path) -> None:
    installation = Installation(tmp_path, PYTHONPATH=str(PROJECT))
    with installation.database() as database:
        for event_id in range(300):
            save(database, event_id)
    (tmp_path / "backups").mkdir()
    command = f"ulimit -f 100; exec {sys.executable} -m flask --app email_app backup {tmp_path}/backups/copy.db"
    done = subprocess.run(["bash", "-c", command], env=installation.environment, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "backups").iterdir()) == []


def test_it_needs_no_more_memory_for_a_large_database(tmp_path: Path) -> None:
    installation = Installation(tmp_path, PYTHONPATH=str(PROJECT))
    peaks = []
    for count in (0, 40_000):
        with installation.database() as database, database.connection.transaction():
            for event_id in range(count):
                save(database, event_id)
        code = (
            "import resource, sys; sys.argv = ['flask', '--app', 'email_app', 'backup', sys.argv[1]]\n"
            "from flask.cli import main\n"
            "try: main()\n"
            "finally: print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
        )
        command = [sys.executable, "-c", code, str(tmp_path / "copy.db")]
        done = subprocess.run(command, env=installation.environment, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.splitlines()[-1]))
    assert (tmp_path / "copy.db").stat().st_size > 20_000_000
    assert peaks[1] - peaks[0] < 12_000, peaks  # kB


def test_on_postgresql_the_commands_to_use_are_named(tmp_path: Path, postgresql: object) -> None:
    url = postgresql.new_database()  # type: ignore[attr-defined]
    result = commands_of(load_settings({"DATABASE_URL": url}, tmp_path), "backup")("copy.db")
    assert result.exit_code == 1
    assert "pg_dump --format=custom --file=copy.db postgresql://127.0.0.1" in result.stderr
    assert "secret" not in result.stderr
    assert "flask restored" in result.stderr
