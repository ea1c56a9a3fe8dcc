"""The interface that each engine implements (storage/sqlite/connection.py, storage/postgresql/connection.py)."""

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
Statement = tuple[str, "Values | Sequence[tuple[object, ...]]"]  # SQL with its values, or with rows for `executemany`


class Guard(NamedTuple):
    """A statement that begins every transaction. `check` gets its first row, and raises to stop the transaction."""

    sql: str
    check: Callable[[Row | None], None]


class LeaseTime(NamedTuple):
    """A reading of the clock that leases are measured by. Readings with different `clock` values are not comparable."""

    clock: str
    milliseconds: int


class PendingTransaction(Protocol):
    """A transaction that the server completes in the background."""

    @property
    def descriptor(self) -> int:
        """A file descriptor that becomes readable when the transaction has ended."""

    def wait(self) -> bool:
        """Wait until the transaction has ended. Return whether it is certain that it was committed."""


class Connection(Protocol):
    """One database connection, used by one thread. Its methods are named as in the DB-API (PEP 249) where possible.

    SQL is the same for every engine, with `:name` placeholders. Errors of the driver are raised as DBErrors.
    """

    engine: str  # "sqlite" or "postgresql"
    guard: Guard | None  # runs in every transaction from now on; None at first
    wal_path: Path | None  # the write-ahead log, or None if a server manages it
    # Clauses that differ between engines. Statements that need them have placeholders with these names.
    for_update: str  # ends a SELECT that waits for locked rows, and locks them
    for_key_share_of_l: str  # ends a SELECT that keeps the rows of its table `l` from being locked FOR UPDATE
    for_update_skip_locked: str  # ends a SELECT that skips locked rows, and locks the others
    sending_index_hint: str  # follows `emails` in a SELECT that scans `sending` emails by event_id
    merged_json: str  # the JSON object {old} with the members of {new}, which replace those of the same name
    json_size: str  # the number of members of the JSON object {json}

    def fetch_all(self, sql: str, **values: object) -> list[Row]:
        """Run a statement and return all rows."""

    def fetch_one(self, sql: str, **values: object) -> Row | None:
        """Run a statement and return the first row, or None."""

    def execute(self, sql: str, **values: object) -> int:
        """Run a statement and return the number of rows it changed."""

    def executemany(self, sql: str, rows: Iterable[tuple[object, ...]]) -> int:
        """Run an INSERT or UPDATE once for each of `rows`. Return the total number of rows changed.

        Placeholders are `?`, or `?1`, `?2` and so on for the first, second value; named ones would take twice as long.
        PostgreSQL runs it as a single statement, so no row sees the change made for another. The text for PostgreSQL is
        in `storage/postgresql/sql.py`.
        """

    def insert(self, sql: str, rows: Sequence[tuple[object, ...]]) -> int:
        """Like `executemany`, for `INSERT … VALUES (?, …)`. Groups of up to 32 rows take a single statement."""

    def execute_pipelined(self, statements: Sequence[Statement]) -> list[list[Row] | int]:
        """Run statements in order, in one round trip if there is a database server.

        Return a result for each: its rows if it returns rows, otherwise the number of rows it changed.
        """

    @property
    def submit_transaction(self) -> Callable[[Sequence[Statement]], PendingTransaction] | None:
        """A function that starts a separate transaction without waiting for it, or None if the engine cannot do that.

        The transaction is rolled back if a statement with rows changes fewer rows than it was given.
        """

    def stream(self, sql: str) -> Iterator[Row]:
        """Yield the rows of a statement without values, in constant memory. Requires an open transaction."""

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Insert many rows within the open transaction."""

    def executescript(self, script: str) -> None:
        """Run several statements in the open transaction, which the driver's own `executescript` would commit."""

    def structure(self) -> Structure:
        """Return the structure of this database's tables."""

    def structure_of(self, script: str) -> Structure:
        """Return the structure of the tables that a script creates. Changes nothing. Requires an open transaction."""

    def lock_for_upgrade(self) -> None:
        """Block all guarded transactions until the open one ends, which may take as long as it needs."""

    def has_tables(self) -> bool:
        """Return whether the tables exist. Inside a transaction, concurrent callers wait until it ends."""

    def server_version(self) -> str:
        """Return the database product and its version, such as `SQLite 3.53.4`."""

    def integrity_check(self, seconds: float) -> list[str] | None:
        """Return the first few faults in the database's files, or None if checking takes more than `seconds`."""

    def set_storage_parameters(self) -> None:
        """Set storage parameters and create the triggers that maintain `status_counts`, after creating the tables."""

    def analyze(self) -> None:
        """Update the planner's statistics after the deliveries have changed a lot."""

    def notify(self) -> None:
        """Notify other processes, on commit of this transaction, that something may be due."""

    def wait_for_notify(self, seconds: float) -> bool:
        """Sleep for `seconds` or until a notification arrives. Return whether one may have arrived.

        SQLite cannot notify, so it sleeps for the whole time.
        """

    def stage_addresses(self, addresses: Iterable[Address]) -> None:
        """Fill the temporary tables `incoming` and `joining`. Locks nothing and uses constant memory.

        `incoming` (position, address, address_key, fields) is sorted by key and has no duplicates: of a repeated
        address, the first spelling and the last values of each field count. `joining` (list_id, address_key) has the
        lists. Exceptions from `addresses` propagate.
        """

    def unstage_addresses(self) -> None:
        """Drop the tables of `stage_addresses`."""

    def check_not_replaced(self) -> None:
        """Raise DatabaseMissing if the database's file was deleted or replaced. Every transaction starts with this."""

    def transaction(self) -> AbstractContextManager[None]:
        """Context manager: commit durably at the end, or roll back on an exception. Nested blocks join the outer one.

        Writers take turns.
        """

    def lease_time(self) -> LeaseTime:
        """Return the current time on the clock that leases are measured by."""

    def hold_sender_lock(self, sender_id: int) -> None:
        """Acquire the lock that proves to other processes on this host that the sender is alive."""

    def release_sender_lock(self, sender_id: int) -> None:
        """Release the lock of a sender, if it is held."""

    def sender_lock_is_free(self, sender_id: int) -> bool:
        """Return whether it is certain that the sender died on this host. False also means "not known on this host"."""

    def size(self) -> int:
        """Return the size of the database on disk, in bytes."""

    def close(self) -> None:
        """Close the connection. An open transaction is rolled back."""
