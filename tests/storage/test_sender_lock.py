"""The lock that shows whether a sender is alive."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

from database import db_init, open_database
from settings import load_settings
from storage.senders.sender_lock import SenderLocks
from tests.support.servers.postgresql_server import PostgreSQLServer


def test_many_who_look_at_once_all_see_that_a_sender_is_dead(tmp_path: Path) -> None:
    (tmp_path / "email.db-sender-1").touch()
    seen: list[bool] = []

    def look() -> None:
        locks = SenderLocks(tmp_path / "email.db")
        seen.extend(locks.is_free(1) for _ in range(2000))

    lookers = [threading.Thread(target=look) for _ in range(4)]
    for looker in lookers:
        looker.start()
    for looker in lookers:
        looker.join()
    assert seen.count(False) == 0


def test_a_living_sender_is_seen_by_each(tmp_path: Path) -> None:
    owner, looker = SenderLocks(tmp_path / "email.db"), SenderLocks(tmp_path / "email.db")
    owner.hold(1)
    assert not looker.is_free(1)
    owner.release(1)
    assert not looker.is_free(1)  # without a file nothing is known
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_given_up_without_a_commit_can_be_held_again(tmp_path: Path) -> None:
    first, second = SenderLocks(tmp_path / "email.db"), SenderLocks(tmp_path / "email.db")
    first.hold(1)
    first.release(1)
    second.hold(1)
    second.release(1)


def test_the_lock_lies_with_the_data_and_not_with_the_program(tmp_path: Path, postgresql: PostgreSQLServer) -> None:
    url = postgresql.new_database()
    settings = load_settings({"DATABASE_URL": url, "DATA_DIR": str(tmp_path)})
    db_init(settings, datetime.now(UTC))
    with open_database(settings) as database:
        database.connection.hold_sender_lock(1)
        assert [path.name.endswith("-sender-1") for path in tmp_path.iterdir()] == [True]
        database.connection.release_sender_lock(1)
    postgresql.drop(url)
