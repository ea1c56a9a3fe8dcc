"""Group commit: items that several threads save at the same time share one transaction, and one sync of the disk.

Each thread puts its item in a queue. A thread that finds no leader becomes the leader: it commits everything in the
queue, wakes the threads that own the items, and makes the first thread that came meanwhile the next leader. So a single
client never waits for others, and the more clients there are, the more of them share a sync. Each thread sleeps on a
lock of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

from storage.errors import DatabaseBusy, DatabaseUnavailable, DBError

Item = TypeVar("Item")
Result = TypeVar("Result")
DrainQueue = Callable[[], list[Item]]


class _Waiting(Generic[Item, Result]):
    """An item, and the thread that waits for its result."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.leads = False
        self.result: Result | None = None
        self.error: BaseException | None = None
        self._awake = threading.Lock()
        self._awake.acquire()

    def sleep(self, seconds: float = -1) -> bool:
        """Sleep until `wake` is called; return False if `seconds` passed first."""
        return self._awake.acquire(timeout=seconds)

    def wake(self) -> None:
        self._awake.release()

    def fail(self, error: BaseException) -> None:
        """Store the error that `save` raises. An error other than a DBError is raised in the leader's thread only."""
        if not self.leads and not isinstance(error, DBError):
            reason = f"the transaction was broken off by another request's {type(error).__name__}"
            self.error = DatabaseUnavailable(reason, "try again")
        else:
            self.error = error


class GroupCommit(Generic[Item, Result]):
    """Saves the items of many threads in groups, by calling `commit(drain_queue)`.

    `commit` begins a transaction, then calls `drain_queue()` to get the items, and returns one result for each once all
    of them are durable. If it raises, none of them is saved. If it calls `drain_queue()` again, it gets the same items
    and those that came meanwhile.
    """

    def __init__(self, commit: Callable[[DrainQueue[Item]], Sequence[Result]], wait: float = 5.0) -> None:
        self._commit = commit
        self._wait = wait
        self._lock = threading.Lock()  # held for a few steps at a time
        self._queue: list[_Waiting[Item, Result]] = []
        self._is_led = False

    def save(self, item: Item) -> Result:
        """Return the item's result, once it is durable. Raises what the commit of its group raised.

        An item whose transaction has not begun within `wait` seconds is withdrawn: DatabaseBusy.
        """
        mine = self._join(item)
        if not mine.leads:
            self._wait_for(mine)
        if mine.leads:
            self._lead()
        if mine.error is not None:
            raise mine.error
        return cast(Result, mine.result)

    def _join(self, item: Item) -> _Waiting[Item, Result]:
        mine = _Waiting[Item, Result](item)
        with self._lock:
            self._queue.append(mine)
            mine.leads = not self._is_led
            self._is_led = True
        return mine

    def _wait_for(self, mine: _Waiting[Item, Result]) -> None:
        """Sleep until the item has a result, or its thread becomes the leader."""
        if mine.sleep(self._wait):
            return
        with self._lock:
            if mine in self._queue and not mine.leads:
                self._queue.remove(mine)
                raise DatabaseBusy("the database is locked, or too slow", "try again in a moment")
        mine.sleep()  # its transaction has begun, or the lead has just been given to it

    def _lead(self) -> None:
        """Commit everything in the queue, and wake its threads, whatever happens."""
        group: list[_Waiting[Item, Result]] = []

        def drain_queue() -> list[Item]:
            with self._lock:
                group.extend(self._queue)
                self._queue.clear()
            return [each.item for each in group]

        try:
            results = self._commit(drain_queue)
            for each, result in zip(group, results, strict=True):
                each.result = result
        except BaseException as error:  # noqa: BLE001 - each of them raises it in its own thread
            if not group:
                drain_queue()
            for each in group:
                each.fail(error)
        finally:
            self._hand_over()
            for each in group:
                each.wake()

    def _hand_over(self) -> None:
        with self._lock:
            self._is_led = bool(self._queue)
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].wake()
