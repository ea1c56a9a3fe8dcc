"""Turns for threads: in order, one at a time, and never lost."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from functools import partial

from storage.sqlite.write_lock import Turns
from tests.support.faults.killer import wait_until


def start(act: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


def test_a_turn_that_is_free_is_taken_at_once() -> None:
    turns = Turns()
    assert turns.take(0)
    turns.give()
    assert turns.take(0)


def test_a_thread_that_waits_too_long_gives_up_and_holds_up_no_other() -> None:
    turns = Turns()
    assert turns.take(0)
    began = time.monotonic()
    assert not turns.take(0.1)
    assert 0.1 <= time.monotonic() - began < 10
    turns.give()
    assert turns.take(0)


def test_turns_come_in_the_order_of_asking() -> None:
    turns, order = Turns(), list[int]()

    def take(number: int) -> None:
        assert turns.take(30)
        order.append(number)
        turns.give()

    assert turns.take(0)
    threads = []
    for number in range(10):
        threads.append(start(partial(take, number)))
        wait_until(lambda: len(turns._waiting) == len(threads))
    turns.give()
    for thread in threads:
        thread.join(30)
    assert order == list(range(10))


def test_one_that_comes_again_at_once_waits_behind_the_others() -> None:
    turns, taken = Turns(), list[str]()

    def greedy() -> None:
        while "other" not in taken:
            assert turns.take(30)
            taken.append("greedy, before the other" if turns._waiting else "greedy")
            time.sleep(0.001)
            turns.give()

    thread = start(greedy)
    wait_until(lambda: taken.count("greedy") > 3)
    assert turns.take(30)
    taken.append("other")
    turns.give()
    thread.join(30)
    assert taken.count("greedy, before the other") <= 1  # they may have come at the same moment


def test_whatever_happens_one_at_a_time_has_it_and_none_is_lost() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    turns, inside, given_up = Turns(), list[int](), list[int]()

    def work(number: int) -> None:
        chance = random.Random(seed + number)
        for _ in range(100):
            if turns.take(chance.choice((0, 0.0005, 0.002, 5))):
                inside.append(number)
                assert len(inside) == 1
                time.sleep(chance.choice((0, 0.0003)))
                inside.clear()
                turns.give()
            else:
                given_up.append(number)

    threads = [start(partial(work, number)) for number in range(8)]
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert turns.take(0)
    assert given_up, "nobody had to give up: this has shown nothing"
