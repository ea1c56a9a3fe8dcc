"""What a kind of database has to offer: `storage/sqlite/connection.py` and `storage/postgresql/connection.py` do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from storage.values import Address

if TYPE_CHECKING:
    from storage.structure import Structure

Row = tuple[Any, ...]
Values = dict[str, object]
Statement = tuple[str, "Values | Sequence[tuple[object, ...]]"]  # its values, or those of many as `run_many` has them


class Guard(NamedTuple):
    """A statement that begins every transaction. `check` raises for a first row with which it must not go on."""

    sql: str
    check: Callable[[Row | None], None]


class LeaseTime(NamedTuple):
    """A reading of the clock that leases are judged by: readings of different `clock`s cannot be compared."""

    clock: str
    milliseconds: int


class Running(Protocol):
    """A transaction that goes on by itself."""

    @property
    def descriptor(self) -> int:
        """Can be read when it has ended."""

    def done(self) -> bool:
        """Wait for its end; whether it was surely committed."""


class Connection(Protocol):
    """One connection. Statements are the same text for every database, with `:name` placeholders.

    Whatever the driver raises comes out as a DBError.
    """

    engine: str  # "sqlite" or "postgresql"
    guard: Guard | None  # of every transaction from now on; None at first
    claim_lock: str  # what a SELECT needs to get only rows that no other transaction holds, and to hold them
    row_lock: str  # what it needs to wait for the others, and to hold the rows
    log: Path | None  # the write-ahead log; None: a server looks after that
    by_sending: str  # what it needs to go through emails that are being sent in the order of their numbers

    def rows(self, sql: str, **values: object) -> list[Row]:
        """All rows of a statement."""

    def row(self, sql: str, **values: object) -> Row | None:
        """The first row of a statement."""

    def run(self, sql: str, **values: object) -> int:
        """Run a statement; how many rows it changed."""

    def run_many(self, sql: str, rows: Iterable[tuple[object, ...]]) -> int:
        """Run a statement for each of `rows`; how many rows were changed in all.

        Its placeholders are `?`, in the order of the values: with names it would take twice the time.
        """

    def run_together(self, statements: Sequence[Statement]) -> list[list[Row] | int]:
        """Run statements in their order, in one round trip where there is a server.

        Of each: the rows, if it has any to tell, or else how many it changed.
        """

    @property
    def begin_together(self) -> Callable[[Sequence[Statement]], Running] | None:
        """Begins statements that are a transaction of their own; None: this database does not go on by itself.

        It is rolled back if one of those with many rows changes fewer than these.
        """

    def stream(self, sql: str) -> Iterator[Row]:
        """The rows of a statement without values, a few at a time: memory stays flat. Inside a transaction."""

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Insert many rows, inside the transaction that is open."""

    def run_script(self, script: str) -> None:
        """Run several statements, inside the transaction that is open."""

    def structure(self) -> Structure:
        """Return what the tables of this database consist of."""

    def structure_of(self, script: str) -> Structure:
        """Return what the tables consist of that a script creates. Changes nothing. Inside a transaction."""

    def lock_for_upgrade(self) -> None:
        """Keep all guarded transactions out until the one that is open ends, which may take as long as it needs."""

    def has_tables(self) -> bool:
        """Whether the tables were made. Asked inside a transaction, others who ask wait for its end."""

    def product(self) -> str:
        """The database's program and its version, such as `SQLite 3.53.4`."""

    def damage(self, seconds: float) -> list[str] | None:
        """What a look through everything finds; None when so many seconds were not enough for all of it."""

    def tune(self) -> None:
        """Tell the database how the tables, made in this transaction, are used, and let it keep `counts`."""

    def analyze(self) -> None:
        """The deliveries have changed much: let the database count anew, where it plans by such counts."""

    def announce(self) -> None:
        """Tell other processes, once this transaction is committed, that something may be due."""

    def wait_for_news(self, seconds: float) -> bool:
        """Sleep for so long, or until something was announced, where the database can tell: then True."""

    def stage_addresses(self, addresses: Iterable[Address]) -> None:
        """Fill this connection's own table `incoming` (position, address, address_key), each key once, in key order.

        Nothing is locked meanwhile, and memory stays flat. What `addresses` raises comes out.
        """

    def unstage_addresses(self) -> None:
        """Drop that table."""

    def refuse_replaced(self) -> None:
        """Raise DatabaseMissing if this is no longer the installation's database; a transaction begins with that."""

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing, durable when it ends; writers wait for it in turn. Inside another one it joins that."""

    def lease_time(self) -> LeaseTime:
        """Now, by the clock that leases are judged by."""

    def hold_sender_lock(self, sender_id: int) -> None:
        """Hold, until it is released or this process dies, what shows others on this host that it lives."""

    def release_sender_lock(self, sender_id: int) -> None:
        """Give that up."""

    def sender_lock_is_free(self, sender_id: int) -> bool:
        """True only if that sender surely died on this host; False where nothing is known."""

    def size(self) -> int:
        """The bytes that the database has on its disk."""

    def close(self) -> None:
        """Close it; a transaction that is open is rolled back."""
