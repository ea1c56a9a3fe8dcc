from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from database import DatabaseBusy, open_database
from settings import Settings, load_settings
from storage.sqlite.write_lock import WriteLock, WriteLockTimeout
from tests.support.faults.killer import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "email.db"
    path.touch()
    return path


def hold(path: Path, held: multiprocessing.Queue[int]) -> None:
    WriteLock(path).acquire(5)
    held.put(os.getpid())
    time.sleep(60)


def commit_without_pause(folder: Path) -> None:
    with open_database(load_settings({}, folder)) as database:
        while True:
            database.record_heartbeat(int(time.time()))


def test_one_connection_at_a_time_holds_it(path: Path) -> None:
    one, two = WriteLock(path), WriteLock(path)
    one.acquire(5)
    with pytest.raises(WriteLockTimeout):
        two.acquire(0.05)
    one.release()
    two.acquire(0.05)
    one.close()
    two.close()


def test_closing_it_releases_it(path: Path) -> None:
    one, two = WriteLock(path), WriteLock(path)
    one.acquire(5)
    one.close()
    two.acquire(0.05)
    two.close()


def test_threads_of_one_process_get_it_in_the_order_in_which_they_asked(path: Path) -> None:
    first, order = WriteLock(path), list[int]()

    def acquire(number: int, lock: WriteLock) -> None:
        lock.acquire(10)
        order.append(number)
        lock.release()

    first.acquire(5)
    threads = [threading.Thread(target=acquire, args=(number, WriteLock(path))) for number in range(8)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    first.release()
    for thread in threads:
        thread.join(10)
    assert order == list(range(8))


def test_it_is_free_once_the_process_that_held_it_is_killed(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=hold, args=(path, held), daemon=True)
    process.start()
    os.kill(held.get(timeout=20), signal.SIGKILL)
    lock = WriteLock(path)
    lock.acquire(5)
    lock.close()
    process.join()


def test_a_busy_writer_lets_others_in(settings: Settings, database: object, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    busy = context.Process(target=commit_without_pause, args=(tmp_path,), daemon=True)
    busy.start()
    waits = []
    with open_database(settings) as other:
        other.record_heartbeat(0)
        wait_until(lambda: other.last_heartbeat_at() != 0)
        for _ in range(100):
            began = time.monotonic()
            other.record_heartbeat(0)
            waits.append(time.monotonic() - began)
    busy.kill()
    busy.join()
    print(f"median wait {sorted(waits)[50] * 1000:.1f} ms, longest {max(waits) * 1000:.1f} ms")
    assert sorted(waits)[50] < 0.1


def test_a_lock_that_stays_held_is_reported_as_a_busy_database(
    settings: Settings, database: object, path: Path
) -> None:
    lock = WriteLock(path)
    lock.acquire(1)
    with open_database(settings, wait=0.1) as other, pytest.raises(DatabaseBusy):
        other.record_heartbeat(0)
    lock.close()
