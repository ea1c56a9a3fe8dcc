"""SQLite's files: owned by another user, copied separately, damaged by a crash, or growing because of a long read."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest

from database import Database, DatabaseBusy
from monitoring import database_health
from monitoring.checks import findings
from storage.sqlite.connection import SQLiteConnection, create_file
from tests.support.installation import Installation

only_root = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root leaves another's files"
)


def test_a_transaction_that_reads_first_can_still_write(database: Database, second: Database) -> None:
    """A deferred transaction would fail immediately, regardless of its timeout."""
    count = "SELECT COUNT(*) FROM counters"
    with database.connection.transaction():
        before = database.connection.fetch_one(count)
        with pytest.raises(DatabaseBusy), second.connection.transaction():
            pass
        assert database.connection.execute("INSERT INTO counters (name, value) VALUES ('a test', 1)") == 1
    with second.connection.transaction():
        assert second.connection.fetch_one(count) != before
        assert second.connection.execute("DELETE FROM counters WHERE name = 'a test'") == 1


@only_root
def test_files_that_root_looks_at_still_belong_to_their_owner() -> None:
    with tempfile.TemporaryDirectory() as name:  # not tmp_path, which other users cannot reach
        installation = owned_by_nobody(Path(name))
        with installation.database() as database:
            database.connection.execute("UPDATE counters SET value = value")
            assert {path.owner() for path in Path(name).iterdir()} == {"nobody"}
            swept = installation.task(user="nobody")
            assert (swept.returncode, swept.stderr) == (0, "")
        assert len(installation.messages()) == 1


@only_root
@pytest.mark.parametrize("beside", ["email.db-turnstile", "email.db-wal"])
def test_a_file_of_another_user_is_named_and_nothing_is_sent(beside: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        installation = owned_by_nobody(Path(name))
        with installation.database() as database:
            database.connection.execute("UPDATE counters SET value = value")
            shutil.chown(Path(name, beside), "root", "root")
            swept = installation.task(user="nobody")
        assert swept.returncode == 1 and len(swept.stderr.splitlines()) == 1
        assert "give this user write access" in swept.stderr and "email.db" in swept.stderr
        assert installation.messages() == []


def owned_by_nobody(folder: Path) -> Installation:
    """Return an installation of the user nobody, with an email that is due."""
    installation = Installation(folder)
    installation.add_recipients(1)
    installation.save_email(1)
    for path in (folder, *folder.iterdir()):
        shutil.chown(path, "nobody", "nogroup")
    for path in folder.glob("email.db-*"):
        path.unlink()
    return installation


def test_a_copy_without_its_wal_is_reported_and_nothing_is_sent(tmp_path: Path) -> None:
    for name in ("real", "copy"):
        (tmp_path / name).mkdir()
    create_file(tmp_path / "real" / "email.db")
    reader = SQLiteConnection(tmp_path / "real" / "email.db")
    assert not reader.has_tables()  # as long as it is open, all writes stay in the -wal
    real = Installation(tmp_path / "real")
    real.save_email(1)
    shutil.copy(tmp_path / "real" / "email.db", tmp_path / "copy" / "email.db")
    reader.close()
    real.environment["DATABASE_URL"] = f"sqlite:///{tmp_path}/copy/email.db"
    swept = real.task()
    assert swept.returncode == 1 and "is not initialised (run: flask init-db)" in swept.stderr
    assert real.messages() == []


def test_a_reader_that_never_ends_is_reported_by_the_wal_that_it_makes_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database_health, "LARGE_WAL", 8_000_000)
    installation = Installation(tmp_path)
    reader = SQLiteConnection(tmp_path / "email.db")
    reader.execute("BEGIN")
    assert reader.has_tables()
    wal = tmp_path / "email.db-wal"
    save_megabytes(installation, 0)
    grown = wal.stat().st_size
    assert grown > database_health.LARGE_WAL
    assert [found.text for found in findings(installation.settings) if "keeps a read transaction open" in found.text]
    reader.execute("ROLLBACK")
    save_megabytes(installation, 100)
    assert wal.stat().st_size < 1.5 * grown  # written from the start again
    reader.close()


def save_megabytes(installation: Installation, first: int) -> None:
    with installation.database() as database:
        for number in range(10):
            installation.save_into(database, first + number, 10**6, content="x" * 1_000_000)
