"""Group commit: items that several threads save at the same time share one transaction, and one sync of the disk.

Theory of operation
-------------------
A sync takes milliseconds, whether it makes one row durable or a hundred. `save` puts its item in a queue. If there is
no leader, its thread becomes the leader: it runs `commit(drain_queue)` and hands the results to the threads that wait
for them. Just before it wakes them, it makes the first thread that arrived meanwhile the next leader. Therefore

- a lone client never waits for others: there is no timer and no batch size;
- the higher the load, the more items share a commit: everything that queues up during one transaction goes into the
  next;
- each thread sleeps on its own lock, and is woken only when it has something to do.

`commit` begins its transaction first and calls `drain_queue` afterwards, so items that arrive while it waits for the
write lock still join. It returns one result per item, in order, once all items are durable. If it raises, none is
saved. If it calls `drain_queue` again (after reopening a database that was replaced), it gets the same items and those
that have arrived since.

Failures. A DBError is raised in every thread of the group. Any other exception is a bug: it is raised in the leader's
thread, and the other threads get DatabaseUnavailable. If the transaction cannot begin, everything in the queue fails
with it, so that items do not wait one after another for the same locked database.

Timeouts. An item whose transaction has not begun within `wait` seconds is withdrawn with DatabaseBusy; it was certainly
not saved. Once `drain_queue` has returned an item, its thread waits for the result, however long that takes.
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
        """Sleep until `wake` is called. Return False if `seconds` pass first."""
        return self._awake.acquire(timeout=seconds)

    def wake(self) -> None:
        self._awake.release()

    def fail(self, error: BaseException) -> None:
        """Store the error that `save` will raise. Only the leader raises an error that is not a DBError."""
        if not self.leads and not isinstance(error, DBError):
            reason = f"another request in the same transaction failed ({type(error).__name__})"
            self.error = DatabaseUnavailable(reason, "try again")
        else:
            self.error = error


class GroupCommit(Generic[Item, Result]):
    """Saves the items of many threads in groups, by calling `commit(drain_queue)`."""

    def __init__(self, commit: Callable[[DrainQueue[Item]], Sequence[Result]], wait: float = 5.0) -> None:
        self._commit = commit
        self._wait = wait
        self._lock = threading.Lock()  # held only for a few instructions
        self._queue: list[_Waiting[Item, Result]] = []
        self._is_led = False

    def save(self, item: Item) -> Result:
        """Return the item's result once it is durable. Raises what the commit of its group raised.

        Raises DatabaseBusy, and withdraws the item, if its transaction has not begun within `wait` seconds.
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
        mine.sleep()  # its transaction has begun, or it has just become the leader

    def _lead(self) -> None:
        """Commit everything in the queue and wake its threads, whatever happens."""
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
        except BaseException as error:  # noqa: BLE001 - it is raised in the threads that wait
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
