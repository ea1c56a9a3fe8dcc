"""The interface of a connection; `storage/sqlite/connection.py` and `storage/postgresql/connection.py` implement it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from storage.values import Address

if TYPE_CHECKING:
    from storage.schema.structure import Structure

Row = tuple[Any, ...]
Values = dict[str, object]
Statement = tuple[str, "Values | Sequence[tuple[object, ...]]"]  # with its values, or with rows as for `executemany`


class Guard(NamedTuple):
    """A statement that begins every transaction. `check` gets its first row and raises to stop the transaction."""

    sql: str
    check: Callable[[Row | None], None]


class LeaseTime(NamedTuple):
    """A reading of the clock that leases are judged by. Readings of different `clock`s cannot be compared."""

    clock: str
    milliseconds: int


class PendingTransaction(Protocol):
    """A transaction that the server runs while the program does something else."""

    @property
    def descriptor(self) -> int:
        """A file descriptor that becomes readable when the transaction has ended."""

    def wait(self) -> bool:
        """Wait until it has ended; return whether it was certainly committed."""


class Connection(Protocol):
    """A connection, with the methods of the DB-API (PEP 249) where it has them.

    Every engine gets the same SQL, with `:name` placeholders. Errors of the driver are raised as DBErrors.
    """

    engine: str  # "sqlite" or "postgresql"
    guard: Guard | None  # of every transaction from now on; None at first
    wal_path: Path | None  # the write-ahead log; None: the server manages it
    # Clauses that differ between engines. Statements that need them have placeholders of these names.
    for_update: str  # ends a SELECT that waits for locked rows and locks them
    for_update_skip_locked: str  # ends a SELECT that skips locked rows and locks the others
    sending_index_hint: str  # follows `emails` in a SELECT that reads those being sent in the order of their event_ids

    def fetch_all(self, sql: str, **values: object) -> list[Row]:
        """Return all rows of a statement."""

    def fetch_one(self, sql: str, **values: object) -> Row | None:
        """Return the first row of a statement, or None."""

    def execute(self, sql: str, **values: object) -> int:
        """Run a statement; return how many rows it changed."""

    def executemany(self, sql: str, rows: Iterable[tuple[object, ...]]) -> int:
        """Run an INSERT or UPDATE for each of `rows`; return how many rows it changed in all.

        Its placeholders are `?`, or `?1`, `?2` and so on for the first, second value: named ones would take twice the
        time. PostgreSQL runs it as one statement, so that no row sees the change that another made; its text is in
        `storage/postgresql/sql.py`.
        """

    def execute_pipelined(self, statements: Sequence[Statement]) -> list[list[Row] | int]:
        """Run statements in order, in one round trip to a database server.

        Returns for each statement its rows if it returns any, or else how many rows it changed.
        """

    @property
    def submit_transaction(self) -> Callable[[Sequence[Statement]], PendingTransaction] | None:
        """A function that submits statements as a transaction of their own, or None if the engine cannot do that.

        The transaction is rolled back if a statement with rows changes fewer rows than it was given.
        """

    def stream(self, sql: str) -> Iterator[Row]:
        """Yield the rows of a statement without values, inside the open transaction. Memory stays flat."""

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Insert many rows, inside the open transaction."""

    def executescript(self, script: str) -> None:
        """Run several statements, inside the open transaction. (The driver's own `executescript` would commit it.)"""

    def structure(self) -> Structure:
        """Return what the tables of this database consist of."""

    def structure_of(self, script: str) -> Structure:
        """Return what the tables consist of that a script creates. Changes nothing. Inside a transaction."""

    def lock_for_upgrade(self) -> None:
        """Keep out all guarded transactions until the open one ends, which may take as long as it needs."""

    def has_tables(self) -> bool:
        """Return whether the tables exist. Inside a transaction, others that ask wait until it ends."""

    def server_version(self) -> str:
        """Return the database program and its version, such as `SQLite 3.53.4`."""

    def integrity_check(self, seconds: float) -> list[str] | None:
        """Return the first few faults in the database's files, or None if `seconds` were not enough to check them."""

    def set_storage_parameters(self) -> None:
        """After creating the tables, set how they are stored, and create the triggers that maintain `status_counts`."""

    def analyze(self) -> None:
        """Update the planner's statistics, because the deliveries have changed much."""

    def notify(self) -> None:
        """Notify waiting processes, once this transaction is committed, that something may be due."""

    def wait_for_notify(self, seconds: float) -> bool:
        """Sleep until `notify` was called, for up to `seconds`; return whether it may have been. SQLite only sleeps."""

    def stage_addresses(self, addresses: Iterable[Address]) -> None:
        """Fill this connection's own table `incoming` (position, address, address_key), each key once, in key order.

        Nothing is locked meanwhile, and memory stays flat. An exception that `addresses` raises is passed on.
        """

    def unstage_addresses(self) -> None:
        """Drop the table of `stage_addresses`."""

    def check_not_replaced(self) -> None:
        """Raise DatabaseMissing if the database's file was deleted or replaced. Every transaction begins with this."""

    def transaction(self) -> AbstractContextManager[None]:
        """Commit all of the block durably, or nothing. Writers take turns. A nested block joins the outer one."""

    def lease_time(self) -> LeaseTime:
        """Return the time by the clock that leases are judged by."""

    def hold_sender_lock(self, sender_id: int) -> None:
        """Take the lock that shows other processes on this host that this sender is alive, until it is released."""

    def release_sender_lock(self, sender_id: int) -> None:
        """Release the lock of `hold_sender_lock`."""

    def sender_lock_is_free(self, sender_id: int) -> bool:
        """Return whether that sender certainly died on this host; False if nothing is known of it."""

    def size(self) -> int:
        """Return how many bytes the database takes on its disk."""

    def close(self) -> None:
        """Close the connection and roll back an open transaction."""
