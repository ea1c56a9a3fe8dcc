"""The Connection for SQLite.

It uses autocommit mode with explicit transactions, WAL and `synchronous=FULL`, so a power cut loses nothing that was
committed. Every write begins with BEGIN IMMEDIATE: if a transaction starts with a read and another process writes
before it does, its first write fails at once, whatever the busy timeout.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import lru_cache
from itertools import chain
from pathlib import Path

from storage.clock import boot_clock, boot_id
from storage.connection import Guard, LeaseTime, Row, Statement, Values
from storage.errors import DatabaseBusy, DatabaseMissing, DatabaseReadOnly, DatabaseUnavailable
from storage.schema import count_triggers
from storage.schema.structure import SELECT_SQLITE_SCHEMA, Structure, of_sqlite
from storage.senders.sender_lock import SenderLocks
from storage.sqlite import integrity, staging
from storage.sqlite.driver import driver, file_uri
from storage.sqlite.errors import (
    foreign,
    incomplete,
    no_lock_file,
    not_a_database,
    not_created,
    not_reached,
    replaced,
    translated,
)
from storage.sqlite.write_lock import WriteLock, WriteLockTimeout
from storage.values import Address

MIN_NOTICEABLE_WAIT = 0.05  # seconds; shorter waits for the write lock are not subtracted from SQLite's timeout
MIN_SQLITE_VERSION = (3, 35, 0)  # RETURNING
MAX_ROWS_PER_INSERT = 32
VALUES_OF_ROW = re.compile(r"(?<=VALUES )\([?, ]+\)")
INIT_DB_REMEDY = "run: flask init-db"
SELECT_OBJECT_NAMES = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite~_%' ESCAPE '~'"


class SQLiteConnection:
    """A Connection to an existing SQLite file. A write waits up to `wait` seconds for another writer."""

    engine = "sqlite"
    for_update_skip_locked = for_update = for_key_share_of_l = ""  # there is one writer at a time
    submit_transaction = None  # there is no server to run it in the background
    merged_json = "json_patch({old}, {new})"
    json_size = "(SELECT COUNT(*) FROM json_each({json}))"
    sending_index_hint = "INDEXED BY emails_sending"  # otherwise SQLite finds them all by status, and sorts them

    def __init__(self, path: Path, wait: float = 5.0) -> None:
        if driver.sqlite_version_info < MIN_SQLITE_VERSION:
            raise DatabaseUnavailable(f"SQLite {driver.sqlite_version} is too old", "install version 3.35 or later")
        if _identity(path) is None:
            raise DatabaseMissing(f"there is no database at {path}", INIT_DB_REMEDY)
        if not path.is_file():
            raise not_a_database(path)
        self.guard: Guard | None = None
        self.wal_path: Path | None = path.with_name(f"{path.name}-wal")
        self._path = path
        self._file = _identity(path)
        self._wait = wait
        self._locks = SenderLocks(path)
        self._write_lock = self._open_write_lock()
        self._staging: staging.StagingFile | None = None
        try:
            self._connection = driver.connect(
                file_uri(path), uri=True, timeout=wait, isolation_level=None, check_same_thread=False
            )
            self._connection.execute("PRAGMA synchronous=FULL")
        except driver.Error as error:
            self._write_lock.close()
            raise self._translated(error) from error

    def fetch_all(self, sql: str, **values: object) -> list[Row]:
        """Run a statement and return all rows."""
        try:
            return self._connection.execute(sql, values).fetchall()
        except driver.Error as error:
            raise self._translated(error) from error

    def fetch_one(self, sql: str, **values: object) -> Row | None:
        """Run a statement and return the first row, or None."""
        rows = self.fetch_all(sql, **values)
        return rows[0] if rows else None

    def execute(self, sql: str, **values: object) -> int:
        """Run a statement and return the number of rows it changed."""
        try:
            return self._connection.execute(sql, values).rowcount
        except driver.Error as error:
            raise self._translated(error) from error

    def executemany(self, sql: str, rows: Iterable[tuple[object, ...]]) -> int:
        """Run a statement, with `?` for the values, for each of `rows`. Return the total number of changed rows."""
        try:
            return self._connection.executemany(sql, rows).rowcount
        except driver.Error as error:
            raise self._translated(error) from error

    def insert(self, sql: str, rows: Sequence[tuple[object, ...]]) -> int:
        """Insert up to 32 rows with a single statement, more with one for each row.

        Each execution of a statement gives other threads the interpreter, and may wait long to get it back.
        """
        if not 1 < len(rows) <= MAX_ROWS_PER_INSERT:
            return self.executemany(sql, rows)
        try:
            return self._connection.execute(_with_rows(sql, len(rows)), [*chain.from_iterable(rows)]).rowcount
        except driver.Error as error:
            raise self._translated(error) from error

    def execute_pipelined(self, statements: Sequence[Statement]) -> list[list[Row] | int]:
        """Run statements in order. Return for each its rows, or the number of rows it changed."""
        return [self._result(*statement) for statement in statements]

    def _result(self, sql: str, values: Values | Sequence[tuple[object, ...]]) -> list[Row] | int:
        if not isinstance(values, dict):
            return self.executemany(sql, values)
        try:
            cursor = self._connection.execute(sql, values)
            return cursor.fetchall() if cursor.description else cursor.rowcount
        except driver.Error as error:
            raise self._translated(error) from error

    def stream(self, sql: str) -> Iterator[Row]:
        """Yield the rows of a statement."""
        try:
            yield from self._connection.execute(sql)
        except driver.Error as error:
            raise self._translated(error) from error

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        places = ", ".join("?" * len(columns))
        self.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({places})", rows)  # noqa: S608

    def executescript(self, script: str) -> None:
        """Run several statements in the open transaction, which the driver's own executescript would commit."""
        statement = ""
        for part in re.split("(?<=;)", script):
            statement += part
            if driver.complete_statement(statement):
                self.execute(statement)
                statement = ""
        if statement.strip():
            self.execute(statement)

    def structure(self) -> Structure:
        """Return the structure of this database's tables."""
        return of_sqlite(self.fetch_all(SELECT_SQLITE_SCHEMA))

    def structure_of(self, script: str) -> Structure:
        """Return the structure of the tables that a script creates, by running it in memory."""
        with closing(driver.connect(":memory:")) as scratch:
            scratch.executescript(script)
            return of_sqlite(scratch.execute(SELECT_SQLITE_SCHEMA))

    def lock_for_upgrade(self) -> None:
        """Do nothing: SQLite has one writer at a time, which may take as long as it needs."""

    def has_tables(self) -> bool:
        """Return whether the tables exist. Raises ForeignTables if there are only tables of a different program."""
        names = {name for (name,) in self.fetch_all(SELECT_OBJECT_NAMES)}
        if names and "meta" not in names:
            raise foreign(self._path)
        return bool(names)

    def switch_to_wal(self) -> None:
        """Turn on the write-ahead log, as `create_file` does for new files. Must not run inside a transaction."""
        self.execute("PRAGMA journal_mode=WAL")

    def server_version(self) -> str:
        """Return the name and version, such as `SQLite 3.53.4`."""
        return f"SQLite {driver.sqlite_version}"

    def integrity_check(self, seconds: float) -> list[str] | None:
        """Return the first few faults in the file, or None if checking all of it takes more than `seconds`."""
        try:
            return integrity.quick_check(self._connection, seconds)
        except driver.Error as error:
            raise self._translated(error) from error

    def copy_into(self, target: SQLiteConnection) -> None:
        """Copy a consistent snapshot, a few pages at a time, while other processes write."""
        self.execute("BEGIN")  # the first read in the transaction fixes the snapshot
        try:
            self.has_tables()
            self._connection.backup(target._connection, pages=1024)
        except driver.Error as error:
            raise target._translated(error) from error
        finally:
            self.execute("ROLLBACK")

    def set_storage_parameters(self) -> None:
        """Create the triggers that maintain `status_counts`. SQLite has no storage parameters."""
        self.executescript(count_triggers.SQLITE)

    def analyze(self) -> None:
        """Do nothing: no statement here depends on statistics."""

    def notify(self) -> None:
        """Do nothing: SQLite cannot notify other processes, so they poll."""

    def wait_for_notify(self, seconds: float) -> bool:
        """Sleep for `seconds` and return False, because SQLite cannot notify."""
        time.sleep(seconds)
        return False

    def stage_addresses(self, addresses: Iterable[Address]) -> None:
        """Fill the tables `incoming`, sorted by key, and `joining`."""
        self._attach_staging()
        self.execute("BEGIN")
        try:
            self._connection.executemany(staging.INSERT_UNSORTED, addresses)
            self._connection.execute(staging.FILL_INCOMING)
            self._connection.execute(staging.FILL_JOINING)
            self.execute("COMMIT")
        except driver.Error as error:
            raise self._translated(error) from error
        finally:
            if self._connection.in_transaction:
                self._connection.rollback()

    def unstage_addresses(self) -> None:
        if self._staging is not None:
            self.execute(staging.DETACH)
            self._staging.remove()
            self._staging = None

    def _attach_staging(self) -> None:
        self.unstage_addresses()
        try:
            file = staging.StagingFile(self._path)
        except OSError as error:
            raise self._no_lock_file(error) from error
        self.execute(staging.ATTACH, file=file_uri(file.path))
        file.attached()
        self._staging = file
        for statement in staging.CREATE_TABLES:
            self.execute(statement)

    def check_not_replaced(self) -> None:
        """Raise DatabaseMissing if the file was deleted or replaced, because anything written to it would be lost."""
        if self._is_replaced():
            raise replaced(self._path)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit durably at the end of the block, or roll back on an exception. Nested blocks join the outer one."""
        if self._connection.in_transaction:
            yield
            return
        self.check_not_replaced()
        with self._write_locked():
            try:
                self.execute("BEGIN IMMEDIATE")
                if self.guard is not None:
                    self.guard.check(self.fetch_one(self.guard.sql))
                yield
                self.execute("COMMIT")
            finally:
                # Some errors, such as a full disk, have already rolled back.
                if self._connection.in_transaction:
                    self.execute("ROLLBACK")

    def lease_time(self) -> LeaseTime:
        """Return the boot clock, which setting the time does not affect and which counts the time spent asleep."""
        return LeaseTime(boot_id(), int(boot_clock() * 1000))

    def hold_sender_lock(self, sender_id: int) -> None:
        """Lock a file that belongs to this sender. The kernel releases the lock when this process dies."""
        try:
            self._locks.hold(sender_id)
        except OSError as error:
            raise self._no_lock_file(error) from error

    def release_sender_lock(self, sender_id: int) -> None:
        self._locks.release(sender_id)

    def sender_lock_is_free(self, sender_id: int) -> bool:
        """Return whether it is certain that the sender died on this host."""
        return self._locks.is_free(sender_id)

    def size(self) -> int:
        """Return the size of the database's files, in bytes."""
        names = (self._path, *(self._path.with_name(self._path.name + end) for end in ("-wal", "-shm")))
        return sum(name.stat().st_size for name in names if name.exists())

    def close(self) -> None:
        """Close the connection. An open transaction is rolled back."""
        self.unstage_addresses()
        self._connection.close()
        self._write_lock.close()

    def _open_write_lock(self) -> WriteLock:
        try:
            return WriteLock(self._path)
        except OSError as error:
            raise self._no_lock_file(error) from error

    @contextmanager
    def _write_locked(self) -> Iterator[None]:
        """Hold the write lock. The time spent waiting for it is subtracted from SQLite's own timeout."""
        try:
            waited = self._write_lock.acquire(self._wait)
        except WriteLockTimeout as error:
            raise DatabaseBusy("the database is locked by another process", "try again in a moment") from error
        try:
            if waited > MIN_NOTICEABLE_WAIT:
                self.execute(f"PRAGMA busy_timeout={int((self._wait - waited) * 1000)}")
            yield
        finally:
            self._write_lock.release()
            if waited > MIN_NOTICEABLE_WAIT:
                self.execute(f"PRAGMA busy_timeout={int(self._wait * 1000)}")

    def _no_lock_file(self, error: OSError) -> DatabaseReadOnly:
        return no_lock_file(self._path, error)

    def _is_replaced(self) -> bool:
        return _identity(self._path) != self._file

    def _translated(self, error: driver.Error) -> DatabaseUnavailable:
        if self._is_replaced():
            return replaced(self._path)
        if "no such table" in str(error) and (names := self._names_of_objects()):
            return incomplete(self._path, error) if "meta" in names else foreign(self._path)
        return translated(self._path, error)

    def _names_of_objects(self) -> set[str]:
        try:
            return {name for (name,) in self._connection.execute(SELECT_OBJECT_NAMES)}
        except driver.Error:
            return set()


def create_file(path: Path) -> None:
    """Create an empty database in WAL mode that only this user can read, unless it exists. Its folder must exist.

    A file that is not empty is not opened. It may belong to another program, and closing it would delete its log, and
    with it the traces of lost commits. Raises DatabaseUnavailable.
    """
    try:
        if not stat.S_ISDIR(path.parent.stat().st_mode):
            raise NotADirectoryError
    except (FileNotFoundError, NotADirectoryError) as error:
        remedy = "create it, or set DATABASE_URL"
        raise DatabaseMissing(f"the folder {path.parent} does not exist", remedy) from error
    except OSError as error:
        raise not_reached(path, error) from error
    if _identity(path) is not None and not path.is_file():
        raise not_a_database(path)
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        if path.stat().st_size:
            return
        connection = driver.connect(file_uri(path), uri=True, isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.close()
    except OSError as error:
        raise not_created(path, error) from error
    except driver.Error as error:
        raise translated(path, error) from error


@lru_cache(maxsize=MAX_ROWS_PER_INSERT)
def _with_rows(sql: str, number: int) -> str:
    """Return an INSERT of one row as an INSERT of `number` rows."""
    return VALUES_OF_ROW.sub(lambda values: ", ".join([values[0]] * number), sql)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise not_reached(path, error) from error
    return status.st_dev, status.st_ino
