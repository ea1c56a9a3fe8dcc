"""A FifoLock admits one thread at a time, in order, and never gets stuck."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial

from storage.sqlite.fifo_lock import FifoLock
from tests.support.faults.killer import wait_until


def start(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def test_a_free_lock_is_acquired_at_once() -> None:
    lock = FifoLock()
    assert lock.acquire(0)
    lock.release()
    assert lock.acquire(0)


def test_a_thread_that_times_out_does_not_hold_up_others() -> None:
    lock = FifoLock()
    assert lock.acquire(0)
    began = time.monotonic()
    assert not lock.acquire(0.1)
    assert 0.1 <= time.monotonic() - began < 10
    lock.release()
    assert lock.acquire(0)


def test_threads_get_the_lock_in_the_order_in_which_they_asked() -> None:
    lock, order = FifoLock(), list[int]()

    def acquire(number: int) -> None:
        assert lock.acquire(30)
        order.append(number)
        lock.release()

    assert lock.acquire(0)
    threads = []
    for number in range(10):
        threads.append(start(partial(acquire, number)))
        wait_until(lambda: len(lock._waiting) == len(threads))
    lock.release()
    for thread in threads:
        thread.join(30)
    assert order == list(range(10))


def test_a_thread_that_asks_again_at_once_waits_behind_the_others() -> None:
    lock, holders = FifoLock(), list[str]()

    def greedy() -> None:
        while "other" not in holders:
            assert lock.acquire(30)
            holders.append("greedy, before the other" if lock._waiting else "greedy")
            time.sleep(0.001)
            lock.release()

    thread = start(greedy)
    wait_until(lambda: holders.count("greedy") > 3)
    assert lock.acquire(30)
    holders.append("other")
    lock.release()
    thread.join(30)
    assert holders.count("greedy, before the other") <= 1  # they may have arrived at the same moment


def test_one_thread_at_a_time_holds_the_lock_and_it_is_never_lost() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    lock, inside, given_up = FifoLock(), list[int](), list[int]()

    def work(number: int) -> None:
        chance = random.Random(seed + number)
        for _ in range(100):
            if lock.acquire(chance.choice((0, 0.0005, 0.002, 5))):
                inside.append(number)
                assert len(inside) == 1
                time.sleep(chance.choice((0, 0.0003)))
                inside.clear()
                lock.release()
            else:
                given_up.append(number)

    threads = [start(partial(work, number)) for number in range(8)]
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert lock.acquire(0)
    assert given_up, "nobody had to give up: this has shown nothing"
