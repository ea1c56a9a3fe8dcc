"""Senders: who is at work, with a lease that is also the heartbeat. A dead one's claims are taken over."""

from __future__ import annotations

import os
from collections.abc import Callable

from storage import hours, sequences
from storage.connection import Connection, LeaseTime
from storage.deliveries.outcome import Deliveries, Delivery, Settlement

LEASE = 60  # seconds; renewed every RENEW
RENEW = 15

ALL = "SELECT sender_id, clock, lease_until FROM senders ORDER BY sender_id"
PROCESSES = "SELECT sender_id, process_id FROM senders ORDER BY sender_id"
ENTER = """
INSERT INTO senders (sender_id, clock, lease_until, process_id, started_at, heartbeat_at)
VALUES (:sender_id, :clock, :lease_until, :process_id, :now, :now)
"""
EXTEND = "UPDATE senders SET lease_until = :lease_until, heartbeat_at = :now WHERE sender_id = :sender_id"
COUNT_SWEEP = """
UPDATE counters SET value = value + CASE name WHEN 'sweeps' THEN 1 ELSE :milliseconds END
WHERE name IN ('sweeps', 'sweep_milliseconds')
"""
# A sweep can last for hours, turn after turn: between two of them, too, somebody has just looked.
KEEP_HEARTBEAT = """
UPDATE counters SET value = (SELECT heartbeat_at FROM senders WHERE sender_id = :sender_id)
WHERE name = 'last_sweep_at' AND value < (SELECT heartbeat_at FROM senders WHERE sender_id = :sender_id)
"""
LEAVE = "DELETE FROM senders WHERE sender_id = :sender_id"

Settle = Callable[[Delivery], Settlement]


class Senders:
    """The acts on senders. `settle` says what becomes of a delivery that a sender left in doubt."""

    def __init__(self, connection: Connection, deliveries: Deliveries) -> None:
        self._connection = connection
        self._deliveries = deliveries

    def enter(self, most: int, now: int, settle: Settle) -> int | None:
        """Become a sender, unless `most` are at work; its sender_id. Dead ones are taken over first."""
        with self._connection.transaction():
            dead = _dead(self._connection)
            for sender_id in dead:
                self._take_over(sender_id, settle)
        for gone in dead:
            self._connection.release_sender_lock(gone)
        return self._take_place(most, now)

    def any_dead(self) -> bool:
        """Whether a sender died without leaving; the next one that enters takes over what it held."""
        return bool(_dead(self._connection))

    def renew(self, sender_id: int, now: int) -> bool:
        """Extend a sender's lease; False when another took over what it held, so that it must stop."""
        with self._connection.transaction():
            _, until = self._lease_end()
            return self._connection.execute(EXTEND, sender_id=sender_id, lease_until=until, now=now) == 1

    def leave(self, sender_id: int, settle: Settle, milliseconds: int | None = None) -> None:
        """Stop being a sender; what it still holds goes back in line. A sweep that had work says how long it took."""
        with self._connection.transaction():
            self._connection.execute(KEEP_HEARTBEAT, sender_id=sender_id)
            self._take_over(sender_id, settle)
            if milliseconds is not None:
                self._connection.execute(COUNT_SWEEP, milliseconds=milliseconds)
        self._connection.release_sender_lock(sender_id)

    def _take_place(self, most: int, now: int) -> int | None:
        sender_id = None
        try:
            with self._connection.transaction():
                number = sequences.take(self._connection, "sender_id")  # nobody else enters until this is committed
                hours.fold_old(self._connection, now)
                if len(self._connection.fetch_all(ALL)) >= most:
                    return None
                sender_id = number
                # Before the row can be seen: who is killed from here on is known to be dead at once.
                self._connection.hold_sender_lock(sender_id)
                self._add(sender_id, now)
        except BaseException:
            if sender_id is not None:  # the next try gets the same number
                self._connection.release_sender_lock(sender_id)
            raise
        return sender_id

    def _add(self, sender_id: int, now: int) -> None:
        clock, until = self._lease_end()
        process_id = os.getpid()
        self._connection.execute(
            ENTER, sender_id=sender_id, clock=clock, lease_until=until, process_id=process_id, now=now
        )

    def _take_over(self, sender_id: int, settle: Settle) -> None:
        in_doubt = self._deliveries.release(sender_id)
        self._deliveries.settle_each(sender_id, [settle(delivery) for delivery in in_doubt])
        self._connection.execute(LEAVE, sender_id=sender_id)

    def _lease_end(self) -> LeaseTime:
        time = self._connection.lease_time()
        return time._replace(milliseconds=time.milliseconds + LEASE * 1000)


def running(connection: Connection) -> list[int]:
    """Return the process ids of the senders that have not died."""
    dead = _dead(connection)
    return [process_id for sender_id, process_id in connection.fetch_all(PROCESSES) if sender_id not in dead]


def _dead(connection: Connection) -> list[int]:
    time = connection.lease_time()
    return [
        sender_id
        for sender_id, clock, until in connection.fetch_all(ALL)
        if not _holds(LeaseTime(clock, until), time) or connection.sender_lock_is_free(sender_id)
    ]


def _holds(until: LeaseTime, now: LeaseTime) -> bool:
    # Of another boot, or further ahead than any lease reaches: the clock began anew since.
    return until.clock == now.clock and 0 < until.milliseconds - now.milliseconds <= LEASE * 1000
