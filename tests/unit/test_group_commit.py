"""Group commit: which thread leads, which ones wait or withdraw, and that all get a result."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from database import DatabaseBusy, DatabaseFull, DatabaseUnavailable
from storage.group_commit import GroupCommit, _Waiting
from tests.support.faults.killer import wait_until

DrainQueue = Callable[[], list[int]]


class Store:
    """A store that keeps each group. It can block before or after it takes the items, or fail."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.threads: list[int] = []
        self.errors: list[BaseException] = []
        self.before, self.after = threading.Event(), threading.Event()
        self.before.set()
        self.after.set()
        self.began = threading.Event()
        self.group_commit = GroupCommit(self.commit, wait=60)

    def commit(self, drain_queue: DrainQueue) -> list[str]:
        self.began.set()
        self.before.wait()
        items = drain_queue()
        self.after.wait()
        if self.errors:
            raise self.errors.pop()
        self.groups.append(items)
        self.threads.append(threading.get_ident())
        return [f"saved {item}" for item in items]

    @property
    def waiting(self) -> int:
        return len(self.group_commit._queue)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as pool:
        yield pool


def behind_a_leader(store: Store, pool: ThreadPoolExecutor, count: int) -> list[Future[str]]:
    """Put item 0 in a transaction that continues once `after` is set, and queue more items behind it."""
    store.after.clear()
    futures = [pool.submit(store.group_commit.save, 0)]
    assert store.began.wait(30)
    wait_for(store, 0)
    for number in range(1, count + 1):
        futures.append(pool.submit(store.group_commit.save, number))
        wait_for(store, number)
    return futures


def wait_for(store: Store, waiting: int) -> None:
    wait_until(lambda: store.waiting == waiting)


def test_a_lone_one_is_saved_at_once_in_its_own_thread(store: Store) -> None:
    assert [store.group_commit.save(number) for number in range(3)] == ["saved 0", "saved 1", "saved 2"]
    assert store.groups == [[0], [1], [2]]
    assert set(store.threads) == {threading.get_ident()}


def test_those_who_come_during_a_commit_share_the_next(store: Store, pool: ThreadPoolExecutor) -> None:
    futures = behind_a_leader(store, pool, 5)
    store.after.set()
    assert [future.result(30) for future in futures] == [f"saved {number}" for number in range(6)]
    assert store.groups == [[0], [1, 2, 3, 4, 5]]


def test_an_error_of_the_database_is_raised_for_all_in_the_group_and_for_nobody_else(
    store: Store, pool: ThreadPoolExecutor
) -> None:
    futures = behind_a_leader(store, pool, 3)
    full = DatabaseFull("full", "make room")
    store.errors.append(full)
    store.after.set()
    assert futures[0].exception(30) is full
    assert [future.result(30) for future in futures[1:]] == ["saved 1", "saved 2", "saved 3"]


def test_one_error_fails_a_whole_group(store: Store, pool: ThreadPoolExecutor) -> None:
    futures = behind_a_leader(store, pool, 3)
    full = DatabaseFull("full", "make room")
    store.errors += [full, DatabaseFull("of the first", "make room")]
    store.after.set()
    assert [future.exception(30) for future in futures[1:]] == [full, full, full]
    assert store.groups == []
    assert store.group_commit.save(9) == "saved 9"


@pytest.mark.parametrize("error", [KeyError("a bug"), MemoryError(), SystemExit(1)], ids=repr)
def test_a_leader_that_dies_of_something_unforeseen_leaves_nobody_asleep(
    error: BaseException, store: Store, pool: ThreadPoolExecutor
) -> None:
    futures = behind_a_leader(store, pool, 3)
    store.errors += [error, DatabaseFull("of the first", "make room")]
    store.after.set()
    found = [future.exception(30) for future in futures[1:]]
    assert found[0] is error
    assert [type(other) for other in found[1:]] == [DatabaseUnavailable, DatabaseUnavailable]
    assert type(error).__name__ in str(found[1])
    assert store.group_commit.save(9) == "saved 9"


def test_a_transaction_that_cannot_begin_fails_all_that_wait(store: Store, pool: ThreadPoolExecutor) -> None:
    def refuse(drain_queue: DrainQueue) -> list[str]:
        store.began.set()
        wait_for(store, 3)
        raise DatabaseBusy("locked", "try again")

    store.group_commit._commit = refuse
    futures = [pool.submit(store.group_commit.save, number) for number in range(3)]
    assert [type(future.exception(30)) for future in futures] == [DatabaseBusy] * 3
    store.group_commit._commit = store.commit
    assert store.group_commit.save(9) == "saved 9"


def test_an_item_that_has_waited_long_enough_is_withdrawn_and_not_saved(store: Store, pool: ThreadPoolExecutor) -> None:
    store.group_commit = GroupCommit(store.commit, wait=0.1)
    store.before.clear()
    leader = pool.submit(store.group_commit.save, 0)
    assert store.began.wait(30)
    began = time.monotonic()
    with pytest.raises(DatabaseBusy):
        store.group_commit.save(1)
    assert 0.1 <= time.monotonic() - began < 10
    store.before.set()
    assert leader.result(30) == "saved 0"
    assert store.groups == [[0]]


def test_an_item_in_a_transaction_that_has_begun_cannot_be_withdrawn(
    store: Store, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    sleep, has_waited_too_long = _Waiting.sleep, threading.Event()

    def oversleep(waiting: _Waiting[int, str], seconds: float = -1) -> bool:
        """Sleep too long, and wake up when the transaction has begun."""
        if seconds < 0:
            has_waited_too_long.set()
            return sleep(waiting)
        wait_for(store, 0)
        return False

    monkeypatch.setattr(_Waiting, "sleep", oversleep)
    store.before.clear()
    store.after.clear()
    futures = [pool.submit(store.group_commit.save, 0)]
    assert store.began.wait(30)
    futures.append(pool.submit(store.group_commit.save, 1))
    wait_for(store, 2)
    store.before.set()
    assert has_waited_too_long.wait(30)
    store.after.set()
    assert [future.result(30) for future in futures] == ["saved 0", "saved 1"]
    assert store.groups == [[0, 1]]


def test_a_commit_that_is_tried_again_gets_the_same_items_and_those_that_came_meanwhile(store: Store) -> None:
    taken: list[list[int]] = []

    def twice(drain_queue: DrainQueue) -> list[str]:
        taken.append(drain_queue())
        store.group_commit._queue.append(newcomer)
        return store.commit(drain_queue)

    newcomer = store.group_commit._join(7)
    store.group_commit._queue.clear()
    store.group_commit._is_led = False
    store.group_commit._commit = twice
    assert store.group_commit.save(1) == "saved 1"
    assert taken == [[1]]
    assert store.groups == [[1, 7]]
    assert newcomer.result == "saved 7"


def test_many_threads_get_each_its_own_answer_whatever_fails(store: Store, pool: ThreadPoolExecutor) -> None:
    seed = random.randrange(10**6)
    print(f"SEED={seed}")
    luck = random.Random(seed)
    saved: list[int] = []

    def commit(drain_queue: DrainQueue) -> list[str]:
        items = drain_queue()
        time.sleep(luck.choice([0, 0, 0.001]))
        if luck.random() < 0.1:
            raise luck.choice([DatabaseFull("full", "make room"), KeyError("a bug")])
        saved.extend(items)
        return [f"saved {item}" for item in items]

    def save_some(thread: int) -> list[int]:
        told = []
        for item in range(thread * 100, thread * 100 + 100):
            try:
                assert store.group_commit.save(item) == f"saved {item}"
                told.append(item)
            except (DatabaseUnavailable, KeyError):
                continue
        return told

    store.group_commit = GroupCommit(commit)
    told = [item for items in pool.map(save_some, range(64), timeout=60) for item in items]
    assert sorted(told) == sorted(saved)
    assert 0 < len(told) < 6400
    assert store.waiting == 0 and not store.group_commit._is_led
