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
from storage.sqlite.write_lock import Gate, GateBusyError
from tests.support.faults.killer import wait_until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "email.db"
    path.touch()
    return path


def hold(path: Path, held: multiprocessing.Queue[int]) -> None:
    Gate(path).enter(5)
    held.put(os.getpid())
    time.sleep(60)


def commit_without_pause(folder: Path) -> None:
    with open_database(load_settings({}, folder)) as database:
        while True:
            database.note_sweep(int(time.time()))


def test_one_is_inside_at_a_time(path: Path) -> None:
    one, two = Gate(path), Gate(path)
    one.enter(5)
    with pytest.raises(GateBusyError):
        two.enter(0.05)
    one.leave()
    two.enter(0.05)
    one.close()
    two.close()


def test_whoever_closes_it_inside_lets_the_next_one_in(path: Path) -> None:
    one, two = Gate(path), Gate(path)
    one.enter(5)
    one.close()
    two.enter(0.05)
    two.close()


def test_threads_of_one_process_pass_in_the_order_in_which_they_came(path: Path) -> None:
    inside, order = Gate(path), list[int]()

    def enter(number: int, gate: Gate) -> None:
        gate.enter(10)
        order.append(number)
        gate.leave()

    inside.enter(5)
    threads = [threading.Thread(target=enter, args=(number, Gate(path))) for number in range(8)]
    for thread in threads:
        thread.start()
        time.sleep(0.02)
    inside.leave()
    for thread in threads:
        thread.join(10)
    assert order == list(range(8))


def test_the_gate_is_free_when_the_one_inside_is_killed(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    held: multiprocessing.Queue[int] = context.Queue()
    process = context.Process(target=hold, args=(path, held), daemon=True)
    process.start()
    os.kill(held.get(timeout=20), signal.SIGKILL)
    gate = Gate(path)
    gate.enter(5)
    gate.close()
    process.join()


def test_a_busy_writer_lets_others_in(settings: Settings, database: object, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    busy = context.Process(target=commit_without_pause, args=(tmp_path,), daemon=True)
    busy.start()
    waits = []
    with open_database(settings) as other:
        other.note_sweep(0)
        wait_until(lambda: other.last_sweep_at() != 0)
        for _ in range(100):
            began = time.monotonic()
            other.note_sweep(0)
            waits.append(time.monotonic() - began)
    busy.kill()
    busy.join()
    print(f"median wait {sorted(waits)[50] * 1000:.1f} ms, longest {max(waits) * 1000:.1f} ms")
    assert sorted(waits)[50] < 0.1


def test_a_gate_that_stays_shut_is_reported_as_a_busy_database(
    settings: Settings, database: object, path: Path
) -> None:
    gate = Gate(path)
    gate.enter(1)
    with open_database(settings, wait=0.1) as other, pytest.raises(DatabaseBusy):
        other.note_sweep(0)
    gate.close()
