"""PostgreSQL: connect, transaction, and what differs from other databases.

A transaction begins with a statement of its own, so that a connection that was lost while idle is reopened before
anything is done on it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from storage.connection import Guard, LeaseTime, Row, Statement
from storage.errors import DatabaseReadOnly, DatabaseUnavailable
from storage.postgresql.sql import MANY_ROWS, arrays, for_psycopg, named
from storage.schema import count_triggers
from storage.schema.structure import SELECT_POSTGRESQL_SCHEMA, Structure, of_postgresql
from storage.senders.sender_lock import SenderLocks
from storage.values import Address

try:
    import psycopg
    from psycopg.types.numeric import Int8Dumper

    from storage.postgresql.errors import translated
    from storage.postgresql.parameters import connection_parameters
    from storage.postgresql.pipeline import Pipeline, PipelinedTransaction
except ImportError as missing:
    remedy = "run: pip install -r requirements/postgresql.txt"
    raise DatabaseUnavailable("psycopg, which DATABASE_URL=postgresql://… needs, is not installed", remedy) from missing

# What goes wrong is raised; what psycopg says of it besides would stand on stderr, which cron mails.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

NOTIFY_CHANNEL = "email_endpoint"
INIT_LOCK_KEY = 0x656D61696C  # of an advisory lock; any number that no other program uses
# The server ends a session that loses its client in the middle of a transaction, so that it does not keep its locks for
# hours. A session that has received only part of a pipeline does not count as idle; the keepalives below end it.
TIMEOUTS: dict[str, float] = {"statement_timeout": 600, "idle_in_transaction_session_timeout": 10}  # seconds
SERVER_KEEPALIVES = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 2}  # seconds
SERVER_KEEPALIVES |= {"tcp_user_timeout": 20_000}  # milliseconds; the same for an answer that nobody acknowledges
# Each statement has its index. The planner knows that only once a table was analyzed, and keeps what it planned when
# the table was small: it would read all deliveries to find thirty.
# (And what is forbidden has a price so high that the compiler of queries, jit, would set to work.)
DISABLED_PLANS = ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "jit")
SELECT_LEASE_TIME = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
# Each change leaves a dead row behind: room on its page lets the next one take its place without touching an index,
# and a number of them, not a share of a large table, is too many.
STORAGE_PARAMETERS = """
ALTER TABLE deliveries SET (fillfactor = 50,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000, autovacuum_vacuum_cost_delay = 0,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000);
ALTER TABLE progress SET (fillfactor = 20);
ALTER TABLE hourly_stats SET (fillfactor = 20);
ALTER TABLE status_counts SET (fillfactor = 20);
ALTER TABLE recipients ALTER COLUMN address_key TYPE TEXT COLLATE "C";
"""
SELECT_SCHEMA = """
SELECT n.oid, n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('meta')
"""
CREATE_UNSORTED = "CREATE TEMPORARY TABLE unsorted (address TEXT NOT NULL, address_key TEXT NOT NULL)"
CREATE_INCOMING = """
CREATE TEMPORARY TABLE incoming AS
SELECT row_number() OVER (ORDER BY address_key COLLATE "C") AS position, address, address_key
FROM (SELECT DISTINCT ON (address_key) address, address_key FROM unsorted) AS each;
CREATE UNIQUE INDEX ON incoming (position);
CREATE UNIQUE INDEX ON incoming (address_key)
"""
DROP_STAGED = "DROP TABLE IF EXISTS unsorted, incoming"


class PostgreSQLConnection:
    """A Connection to a PostgreSQL server. Waits up to `wait` seconds for another writer of the same rows."""

    engine = "postgresql"
    for_update_skip_locked = "FOR UPDATE SKIP LOCKED"
    for_update = "FOR UPDATE"
    sending_index_hint = ""
    wal_path: Path | None = None

    def __init__(self, url: str, folder: Path, wait: float = 5.0) -> None:
        """In `folder` are the locks by which senders of this host know of each other's death."""
        self.guard: Guard | None = None
        self._url = url
        self._options = _options({**TIMEOUTS, "lock_timeout": wait})
        self._in_transaction = False
        self._listens = False
        self._pending: PipelinedTransaction | None = None
        self._connection = self._connect()
        self._locks = SenderLocks(folder / _file_name(self._connection.info))

    def fetch_all(self, sql: str, **values: object) -> list[Row]:
        """Return all rows of a statement."""
        cursor = self._execute(named(sql), values)
        return cursor.fetchall()

    def fetch_one(self, sql: str, **values: object) -> Row | None:
        """Return the first row of a statement, or None."""
        rows = self.fetch_all(sql, **values)
        return rows[0] if rows else None

    def execute(self, sql: str, **values: object) -> int:
        """Run a statement; return how many rows it changed."""
        return self._execute(named(sql), values).rowcount

    def executemany(self, sql: str, rows: Iterable[tuple[object, ...]]) -> int:
        """Run a statement of MANY_ROWS for all of `rows` at once; return how many rows it changed."""
        return self._execute(MANY_ROWS[sql], arrays(rows)).rowcount

    def execute_pipelined(self, statements: Sequence[Statement]) -> list[list[Row] | int]:
        """Run statements in order; return the rows of each, or how many it changed. Writes need a transaction."""
        self._wait_for_pending()
        try:
            with self._connection.pipeline():
                cursors = [self._connection.execute(*cast("Any", for_psycopg(*each))) for each in statements]
        except psycopg.Error as error:
            raise translated(error) from error
        return [cursor.fetchall() if cursor.description else cursor.rowcount for cursor in cursors]

    def submit_transaction(self, statements: Sequence[Statement]) -> PipelinedTransaction:
        """Send statements as a transaction of their own, and return without waiting for its end."""
        self._wait_for_pending()
        try:
            self._pending = self._pipeline.submit(statements)
        except psycopg.Error as error:
            raise translated(error) from error
        return self._pending

    def stream(self, sql: str) -> Iterator[Row]:
        """Yield the rows of a statement, some at a time. The transaction may be idle as long as the reader needs."""
        self._execute("SET LOCAL idle_in_transaction_session_timeout = 0", None)
        try:
            with self._connection.cursor("stream") as cursor:
                yield from cursor.execute(cast("Any", sql))
        except psycopg.Error as error:
            raise translated(error) from error

    def load(self, table: str, columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Insert many rows with COPY."""
        try:
            with self._connection.cursor().copy(cast("Any", f"COPY {table} ({', '.join(columns)}) FROM STDIN")) as copy:
                for row in rows:
                    copy.write_row(row)
        except psycopg.Error as error:
            raise translated(error) from error

    def executescript(self, script: str) -> None:
        """Run several statements, inside the open transaction."""
        self._execute(script, None)

    def structure(self) -> Structure:
        """Return what the tables of this database consist of."""
        ((schema, name),) = self.fetch_all(SELECT_SCHEMA)
        return self._structure(schema, name)

    def structure_of(self, script: str) -> Structure:
        """Return what the tables consist of that a script creates, by running it on temporary ones.

        They need no more rights than an import of recipients. Temporary functions are only found by their full name.
        """
        self.execute("SAVEPOINT before_structure")
        self.execute("SET LOCAL search_path TO pg_temp")
        self.executescript(script.replace("EXECUTE FUNCTION ", "EXECUTE FUNCTION pg_temp."))
        ((schema,),) = self.fetch_all("SELECT pg_my_temp_schema()")
        structure = self._structure(schema, "pg_temp")
        self.execute("ROLLBACK TO SAVEPOINT before_structure")
        return structure

    def _structure(self, schema: int, name: str) -> Structure:
        return of_postgresql(self.fetch_all(SELECT_POSTGRESQL_SCHEMA, schema=schema), name)

    def lock_for_upgrade(self) -> None:
        """Wait for every transaction that has read `meta`, as all guarded ones have, and keep out new ones."""
        self.executescript("SET LOCAL statement_timeout = 0; LOCK TABLE meta IN ACCESS EXCLUSIVE MODE")

    def has_tables(self) -> bool:
        """Return whether the tables exist. Inside a transaction, others that ask wait until it ends."""
        self._execute("SELECT pg_advisory_xact_lock(%s)", [INIT_LOCK_KEY])
        return self.fetch_all("SELECT to_regclass('meta')") != [(None,)]

    def server_version(self) -> str:
        """Return the version, as in `PostgreSQL 17.2`."""
        ((version,),) = self.fetch_all("SHOW server_version")
        return f"PostgreSQL {str(version).partition(' ')[0]}"

    def integrity_check(self, seconds: float) -> list[str] | None:
        """Return no faults: the server checks its own files (data_checksums)."""
        return []

    def set_storage_parameters(self) -> None:
        """Set how the new tables are stored and vacuumed, and create the triggers that maintain `status_counts`."""
        self.executescript(STORAGE_PARAMETERS + count_triggers.POSTGRESQL)

    def analyze(self) -> None:
        """Update the statistics of the deliveries: without them a claim could sort all of them."""
        self._execute("ANALYZE deliveries", None)

    def stage_addresses(self, addresses: Iterable[Address]) -> None:
        """Fill the table `incoming`, sorted by key."""
        self.unstage_addresses()
        with self.transaction():
            self._execute(CREATE_UNSORTED, None)
            self.load("unsorted", ("address", "address_key"), addresses)
            self._execute(CREATE_INCOMING, None)

    def unstage_addresses(self) -> None:
        self._execute(DROP_STAGED, None)

    def check_not_replaced(self) -> None:
        """Do nothing: a server's database is not replaced while it is in use."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all of the block durably, or nothing. A nested block joins the outer one."""
        if self._in_transaction:
            yield
            return
        try:
            self._begin()
            yield
            self._execute("COMMIT", None)
        finally:
            self._in_transaction = False
            self._roll_back()

    def _begin(self) -> None:
        """Begin a transaction, with the guard's statement in the same round trip."""
        cursor = self._execute("BEGIN" if self.guard is None else f"BEGIN; {self.guard.sql}", None)
        self._in_transaction = True
        if self.guard is not None and cursor.nextset():
            self.guard.check(cursor.fetchone())

    def notify(self) -> None:
        """Notify waiting processes, once this transaction is committed, that something may be due."""
        self._execute(f"NOTIFY {NOTIFY_CHANNEL}", None)

    def wait_for_notify(self, seconds: float) -> bool:
        """Wait up to `seconds` for `notify`; return True at once if a notification may have been missed."""
        if not self._listens or self._connection.closed:
            self._execute(f"LISTEN {NOTIFY_CHANNEL}", None)
            self._listens = True
            return True
        try:
            return any(True for _ in self._connection.notifies(timeout=seconds, stop_after=1))
        except psycopg.Error as error:
            raise translated(error) from error

    def lease_time(self) -> LeaseTime:
        """Now, by the server's clock, the same for all machines."""
        ((milliseconds,),) = self.fetch_all(SELECT_LEASE_TIME)
        return LeaseTime("postgresql", milliseconds)

    def hold_sender_lock(self, sender_id: int) -> None:
        """Hold a lock on a file of this sender's own, which the kernel frees when this process dies."""
        try:
            self._locks.hold(sender_id)
        except OSError as error:
            reason = f"no file for the lock of a sender can be made: {error.filename} ({error.strerror})"
            raise DatabaseReadOnly(reason, "let this user write to that folder, or name another in DATA_DIR") from error

    def release_sender_lock(self, sender_id: int) -> None:
        self._locks.release(sender_id)

    def sender_lock_is_free(self, sender_id: int) -> bool:
        """True only if that sender surely died on this host; of other hosts nothing is known here."""
        return self._locks.is_free(sender_id)

    def size(self) -> int:
        """The bytes of this database on the server's disk."""
        ((size,),) = self.fetch_all("SELECT pg_database_size(current_database())")
        return int(size)

    def close(self) -> None:
        """Close it; a transaction that is open is rolled back."""
        self._connection.close()

    def _connect(self) -> psycopg.Connection[Row]:
        self._listens = False
        try:
            parameters = connection_parameters(self._url, self._options)
            connection = psycopg.connect(self._url, autocommit=True, **parameters)
        except psycopg.Error as error:
            raise translated(error) from error
        # psycopg sends each number as the smallest type that holds it, but 20000 + 20000 is not a SMALLINT.
        connection.adapters.register_dumper(int, Int8Dumper)
        self._pipeline, self._pending = Pipeline(connection.pgconn), None
        return connection

    def _execute(self, sql: str, values: Mapping[str, object] | list[Any] | None) -> psycopg.Cursor[Row]:
        """Run a statement, or several without `values`. Outside a transaction a lost connection is reopened first."""
        self._wait_for_pending()
        prepare = False if values is None else None  # only a single statement can be prepared
        if self._connection.closed and not self._in_transaction:
            self._connection = self._connect()
        try:
            return self._connection.execute(cast("Any", sql), values, prepare=prepare)
        except psycopg.Error as error:
            if not self._connection.closed or self._in_transaction:
                raise translated(error) from error
        self._connection = self._connect()
        try:
            return self._connection.execute(cast("Any", sql), values, prepare=prepare)
        except psycopg.Error as error:
            raise translated(error) from error

    def _wait_for_pending(self) -> None:
        """Wait for a submitted transaction, which has the connection until it ends."""
        if self._pending is not None:
            self._pending.wait()
            self._pending = None

    def _roll_back(self) -> None:
        if self._connection.closed or self._connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            return
        try:
            self._connection.execute("ROLLBACK")
        except psycopg.Error:
            self._connection.close()  # the server rolls back by itself


def _options(timeouts: Mapping[str, float]) -> str:
    """What libpq tells the server at the start of a session; it has milliseconds."""
    settings: dict[str, object] = {name: round(seconds * 1000) for name, seconds in timeouts.items()}
    settings |= SERVER_KEEPALIVES | dict.fromkeys(DISABLED_PLANS, "off")
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def _file_name(info: psycopg.ConnectionInfo) -> str:
    """What stands for this database in the name of a file."""
    return re.sub(r"[^\w.-]", "_", f"postgresql-{info.host}-{info.port}-{info.dbname}")
