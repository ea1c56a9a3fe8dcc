"""Group commit: what many threads want saved at one time goes into one transaction, with one sync of the disk.

A thread leaves its item in a queue. Who finds no leader there leads: it commits all that wait, wakes the threads
whose items they were, and gives the lead to the first that came meanwhile. So a lone client never waits for
company, and the more there are, the more share a sync. Nobody sleeps on a lock that several wait for.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

from storage.errors import DatabaseBusy, DatabaseUnavailable, DBError

Item = TypeVar("Item")
Result = TypeVar("Result")
Take = Callable[[], list[Item]]


class _Waiting(Generic[Item, Result]):
    """An item, and the thread that waits for what becomes of it."""

    def __init__(self, item: Item) -> None:
        self.item = item
        self.leads = False
        self.result: Result | None = None
        self.error: BaseException | None = None
        self._awake = threading.Lock()
        self._awake.acquire()

    def sleep(self, seconds: float = -1) -> bool:
        """Until it is woken; False if it was not in time."""
        return self._awake.acquire(timeout=seconds)

    def wake(self) -> None:
        self._awake.release()

    def fail(self, error: BaseException) -> None:
        """What is no DBError is raised where it happened, and only told to the others."""
        if not self.leads and not isinstance(error, DBError):
            told = f"the transaction was broken off by another request's {type(error).__name__}"
            self.error = DatabaseUnavailable(told, "try again")
        else:
            self.error = error


class GroupCommit(Generic[Item, Result]):
    """Saves what threads give it, in groups, by `commit(take)`.

    That begins a transaction, has `take()` give it the items, and returns one result for each once all are durable;
    or it raises, and none of them is saved. Run a second time, it gets the same items, and those that came meanwhile.
    """

    def __init__(self, commit: Callable[[Take[Item]], Sequence[Result]], wait: float = 5.0) -> None:
        self._commit = commit
        self._wait = wait
        self._lock = threading.Lock()  # held for a few steps at a time
        self._queue: list[_Waiting[Item, Result]] = []
        self._is_led = False

    def save(self, item: Item) -> Result:
        """The item's result, once it is durable. Raises what the commit of its group raised.

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
        """Sleep until the item was dealt with, or has to lead."""
        if mine.sleep(self._wait):
            return
        with self._lock:
            if mine in self._queue and not mine.leads:
                self._queue.remove(mine)
                raise DatabaseBusy("the database is locked, or too slow", "try again in a moment")
        mine.sleep()  # its transaction has begun, or the lead has just been given to it

    def _lead(self) -> None:
        """Commit all that wait, and wake them, whatever happens."""
        group: list[_Waiting[Item, Result]] = []

        def take() -> list[Item]:
            with self._lock:
                group.extend(self._queue)
                self._queue.clear()
            return [each.item for each in group]

        try:
            results = self._commit(take)
            for each, result in zip(group, results, strict=True):
                each.result = result
        except BaseException as error:  # noqa: BLE001 - each of them raises it in its own thread
            if not group:
                take()
            for each in group:
                each.fail(error)
        finally:
            self._give_the_lead()
            for each in group:
                each.wake()

    def _give_the_lead(self) -> None:
        with self._lock:
            self._is_led = bool(self._queue)
            if self._queue:
                self._queue[0].leads = True
                self._queue[0].wake()
