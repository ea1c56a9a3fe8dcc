"""A corrupt write-ahead log is distinguished from a write that a power cut interrupted."""

from __future__ import annotations

import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from storage.sqlite.wal import FRAME_HEADER_BYTES, HEADER_BYTES, lost_commits
from tests.support.installation import Installation

COMMITS = 20
FRAME = FRAME_HEADER_BYTES + 4096  # bytes
SEED = random.randrange(2**32)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """Return an installation with twenty due emails, all of them still in the write-ahead log."""
    before = Installation(tmp_path)
    before.add_recipients(1)
    with before.database() as database:
        database.connection.fetch_all("PRAGMA wal_checkpoint(RESTART)")
        database.connection.execute("DELETE FROM meta WHERE name = 'boot'")
        for event_id in range(COMMITS):
            before.save_into(database, event_id, -1, content="x" * 3000)
        for name in ("email.db", "email.db-wal"):
            shutil.copyfile(before.folder / name, tmp_path / f"{name}-kept")
    for name in ("email.db", "email.db-wal"):
        (tmp_path / f"{name}-kept").replace(before.folder / name)
    return before


def log_of(installation: Installation) -> Path:
    return installation.folder / "email.db-wal"


def frames_of_commits(log: bytes) -> list[int]:
    """Return the numbers of the frames that end a commit."""
    heads = range(HEADER_BYTES, len(log), FRAME)
    return [number for number, begin in enumerate(heads) if int.from_bytes(log[begin + 4 : begin + 8], "big")]


def flip(log: Path, position: int) -> None:
    octets = bytearray(log.read_bytes())
    octets[position] ^= 0x10
    log.write_bytes(octets)


def emails_that_sqlite_sees(installation: Installation) -> int:
    with closing(sqlite3.connect(installation.folder / "email.db")) as connection:
        return int(connection.execute("SELECT COUNT(*) FROM emails").fetchone()[0])


def test_a_log_as_it_was_written_has_lost_nothing(installation: Installation) -> None:
    assert len(frames_of_commits(log_of(installation).read_bytes())) > COMMITS
    assert lost_commits(log_of(installation)) == 0
    assert emails_that_sqlite_sees(installation) == COMMITS


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_wrong_byte_loses_all_commits_behind_it(installation: Installation, share: float) -> None:
    print(f"seed {SEED}")
    log = log_of(installation)
    commits = frames_of_commits(log.read_bytes())
    frame = commits[int(share * len(commits))]
    flip(log, HEADER_BYTES + frame * FRAME + random.Random(SEED).choice((2, 5, 9, 18, 30, 3000)))
    behind = len([each for each in commits if each >= frame])
    found = lost_commits(log)
    assert behind - 1 <= found <= behind, "the one whose own mark was hit may not be counted"
    assert emails_that_sqlite_sees(installation) == max(COMMITS - behind, 0)


def test_a_write_that_was_broken_off_is_no_loss(installation: Installation) -> None:
    log = log_of(installation)
    whole = log.read_bytes()
    *_, last_but_one, last = frames_of_commits(whole)
    begin = HEADER_BYTES + (last_but_one + 1) * FRAME
    for length in range(begin, HEADER_BYTES + (last + 1) * FRAME, 1000):
        log.write_bytes(whole[:length])
        assert lost_commits(log) == 0
    for hole in range(begin, len(whole) - 512, 512):  # sectors reach the disk in any order
        log.write_bytes(whole[:hole] + bytes(512) + whole[hole + 512 :])
        assert lost_commits(log) == 0


def test_what_is_left_of_an_older_log_is_no_loss(installation: Installation) -> None:
    with installation.database() as database:
        database.connection.fetch_all("PRAGMA wal_checkpoint(RESTART)")
        installation.save_into(database, 100, 3600)
        assert len(frames_of_commits(log_of(installation).read_bytes())) > COMMITS
        assert lost_commits(log_of(installation)) == 0


@pytest.mark.parametrize("content", [b"", b"short", bytes(HEADER_BYTES), b"\xff" * 5000])
def test_what_is_no_log_has_lost_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "wal").write_bytes(content)
    assert lost_commits(tmp_path / "wal") == 0
    assert lost_commits(tmp_path / "none") == 0


def test_a_damaged_database_sends_nothing_and_says_why(installation: Installation) -> None:
    log = log_of(installation)
    middle = frames_of_commits(log.read_bytes())[COMMITS // 2]
    flip(log, HEADER_BYTES + middle * FRAME + 100)
    installation.database().close()  # the first process to open it, and the last to close it, is not a sweep
    assert not log.exists()
    swept = installation.task()
    assert swept.returncode == 1
    assert "committed transactions were lost" in swept.stderr
    assert "due or partly sent emails on hold" in swept.stderr
    assert installation.messages() == []
    with installation.database() as database:
        assert database.info().backup_made_at is None
    assert installation.task().stderr == ""


def test_an_undamaged_database_sends_after_a_power_cut(installation: Installation) -> None:
    assert installation.task().stderr == ""
    assert len(installation.messages()) == COMMITS
