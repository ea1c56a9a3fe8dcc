"""Senders: registration, leases, and taking over the claims of dead senders.

A sender is dead if the lock on its file is free (the kernel releases it however the process died), or if its lease has
expired. Leases are measured by a clock that setting the time does not affect: the boot clock with its boot ID on
SQLite, and the server's clock on PostgreSQL. The next sender to register queues the `claimed` deliveries of a dead
sender again, resolves its `sending` ones as in doubt, and deletes its row. A sender that was only suspended finds its
row gone when it renews its lease, and by its own clock it sends no final dot after the lease has expired.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from storage import hourly_stats, sequences
from storage.connection import Connection, LeaseTime
from storage.deliveries.outcome import Deliveries, Delivery, DeliveryUpdate

LEASE_SECONDS = 60
RENEW_SECONDS = 15  # a lease is renewed this often

SELECT_LEASES = "SELECT sender_id, clock, lease_until FROM senders ORDER BY sender_id"
SELECT_PROCESSES = "SELECT sender_id, process_id FROM senders ORDER BY sender_id"
INSERT_SENDER = """
INSERT INTO senders (sender_id, clock, lease_until, process_id, started_at, heartbeat_at)
VALUES (:sender_id, :clock, :lease_until, :process_id, :now, :now)
"""
RENEW_LEASE = "UPDATE senders SET lease_until = :lease_until, heartbeat_at = :now WHERE sender_id = :sender_id"
COUNT_SWEEP = """
UPDATE counters SET value = value + CASE name WHEN 'sweeps' THEN 1 ELSE :milliseconds END
WHERE name IN ('sweeps', 'sweep_milliseconds')
"""
# In a sweep that lasts for hours, senders come and go. The heartbeat of one that unregisters must not be lost.
KEEP_HEARTBEAT = """
UPDATE counters SET value = (SELECT heartbeat_at FROM senders WHERE sender_id = :sender_id)
WHERE name = 'last_sweep_at' AND value < (SELECT heartbeat_at FROM senders WHERE sender_id = :sender_id)
"""
DELETE_SENDER = "DELETE FROM senders WHERE sender_id = :sender_id"

ResolveInDoubt = Callable[[Delivery], DeliveryUpdate]


class Senders:
    """All senders of an installation. `resolve` returns the update for a delivery that a sender left in doubt."""

    def __init__(self, connection: Connection, deliveries: Deliveries) -> None:
        self._connection = connection
        self._deliveries = deliveries

    def register(self, max_senders: int, now: int, resolve: ResolveInDoubt) -> int | None:
        """Take over the claims of dead senders, then register a new sender.

        Return its sender_id, or None if `max_senders` senders are already registered.
        """
        with self._connection.transaction():
            dead = _dead(self._connection)
            for sender_id in dead:
                self._take_over(sender_id, resolve)
        for sender_id in dead:
            self._connection.release_sender_lock(sender_id)
        return self._acquire_slot(max_senders, now)

    def any_dead(self) -> bool:
        """Return whether any registered sender is dead. The next one to register takes over its claims."""
        return bool(_dead(self._connection))

    def renew(self, sender_id: int, now: int) -> bool:
        """Extend a sender's lease to LEASE_SECONDS. Return False if another sender took over; it must then stop."""
        with self._connection.transaction():
            _, until = self._lease_end()
            return self._connection.execute(RENEW_LEASE, sender_id=sender_id, lease_until=until, now=now) == 1

    def unregister(self, sender_id: int, resolve: ResolveInDoubt, milliseconds: int | None = None) -> None:
        """Remove a sender, queue its claims again, and resolve its deliveries in doubt.

        `milliseconds` is the duration of its sweep, for the statistics, or None if the sweep had no work.
        """
        with self._connection.transaction():
            self._connection.execute(KEEP_HEARTBEAT, sender_id=sender_id)
            self._take_over(sender_id, resolve)
            if milliseconds is not None:
                self._connection.execute(COUNT_SWEEP, milliseconds=milliseconds)
        self._connection.release_sender_lock(sender_id)

    def _acquire_slot(self, max_senders: int, now: int) -> int | None:
        sender_id = None
        try:
            with self._connection.transaction():
                number = sequences.reserve(
                    self._connection, "sender_id"
                )  # no other sender registers until this is committed
                hourly_stats.roll_up_old_hours(self._connection, now)
                if len(self._connection.fetch_all(SELECT_LEASES)) >= max_senders:
                    return None
                sender_id = number
                # Before the row is committed, so that others notice at once if this process is killed.
                self._connection.hold_sender_lock(sender_id)
                self._add(sender_id, now)
        except BaseException:
            if sender_id is not None:  # the next attempt gets the same number
                self._connection.release_sender_lock(sender_id)
            raise
        return sender_id

    def _add(self, sender_id: int, now: int) -> None:
        clock, until = self._lease_end()
        process_id = os.getpid()
        self._connection.execute(
            INSERT_SENDER, sender_id=sender_id, clock=clock, lease_until=until, process_id=process_id, now=now
        )

    def _take_over(self, sender_id: int, resolve: ResolveInDoubt) -> None:
        in_doubt = self._deliveries.release_all(sender_id)
        self._deliveries.apply_each(sender_id, [resolve(delivery) for delivery in in_doubt])
        self._connection.execute(DELETE_SENDER, sender_id=sender_id)

    def _lease_end(self) -> LeaseTime:
        time = self._connection.lease_time()
        return time._replace(milliseconds=time.milliseconds + LEASE_SECONDS * 1000)


def running(connection: Connection) -> list[int]:
    """Return the process IDs of the senders that are alive."""
    dead = _dead(connection)
    return [process_id for sender_id, process_id in connection.fetch_all(SELECT_PROCESSES) if sender_id not in dead]


def _dead(connection: Connection) -> list[int]:
    time = connection.lease_time()
    return [
        sender_id
        for sender_id, clock, until in connection.fetch_all(SELECT_LEASES)
        if not _is_valid(LeaseTime(clock, until), time) or connection.sender_lock_is_free(sender_id)
    ]


def _is_valid(until: LeaseTime, now: LeaseTime) -> bool:
    # A lease from a different boot, or one that ends later than any lease can, is from before the machine restarted.
    return until.clock == now.clock and 0 < until.milliseconds - now.milliseconds <= LEASE_SECONDS * 1000
