"""The Connection for PostgreSQL.

Each transaction begins with a separate statement, so that a connection that was lost while idle is reopened before
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

# Errors are raised. What psycopg logs in addition would appear on stderr, which cron mails.
logging.getLogger("psycopg").addHandler(logging.NullHandler())

NOTIFY_CHANNEL = "email_endpoint"
INIT_LOCK_KEY = 0x656D61696C  # of an advisory lock: any number that no other program uses
# If a client disappears in the middle of a transaction, the server ends its session, which would otherwise keep its
# locks for hours. A session that has received only part of a pipeline is not idle; the keepalives below end it.
TIMEOUTS: dict[str, float] = {"statement_timeout": 600, "idle_in_transaction_session_timeout": 10}  # seconds
SERVER_KEEPALIVES = {"tcp_keepalives_idle": 10, "tcp_keepalives_interval": 5, "tcp_keepalives_count": 2}  # seconds
SERVER_KEEPALIVES |= {"tcp_user_timeout": 20_000}  # milliseconds; for data that the client does not acknowledge
# Every statement has an index to use. The planner does not know that before a table has been analyzed, and it keeps
# plans that it made while the table was small: it would read all deliveries to find thirty. (Disabled plans look so
# expensive that jit compilation would start, so that is off too.)
DISABLED_PLANS = ("enable_seqscan", "enable_bitmapscan", "enable_hashjoin", "enable_mergejoin", "jit")
SELECT_LEASE_TIME = "SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000 AS BIGINT)"
# Each change leaves a dead row behind. Free space on its page lets a new version be stored without touching an index
# (a HOT update). Vacuum starts after a fixed number of dead rows, because a share of a large table would be too many.
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
CREATE_UNSORTED = """
CREATE TEMPORARY TABLE unsorted (address TEXT NOT NULL, address_key TEXT NOT NULL COLLATE "C", fields TEXT, lists TEXT)
"""
# If an address is repeated, its first spelling counts, its last values, and all of its lists. (The rows of a new table
# are in the order in which they were inserted, which is the order of `ctid`.)
CREATE_INCOMING = """
CREATE TEMPORARY TABLE incoming AS
SELECT row_number() OVER (ORDER BY address_key) AS position, address, address_key, fields
FROM (SELECT DISTINCT ON (address_key) * FROM unsorted ORDER BY address_key, ctid) AS each;
CREATE UNIQUE INDEX ON incoming (position);
CREATE UNIQUE INDEX ON incoming (address_key);
UPDATE incoming SET fields = merged.fields
FROM (
    SELECT address_key, CAST(jsonb_object_agg(each.key, each.value ORDER BY unsorted.ctid) AS TEXT) AS fields
    FROM unsorted, jsonb_each(CAST(NULLIF(unsorted.fields, '') AS JSONB)) AS each
    WHERE address_key IN (SELECT address_key FROM unsorted GROUP BY 1 HAVING COUNT(*) > 1 AND MAX(fields) <> '')
        AND fields <> ''
    GROUP BY 1) AS merged
WHERE incoming.address_key = merged.address_key;
CREATE TEMPORARY TABLE joining AS
SELECT DISTINCT CAST(each AS BIGINT) AS list_id, address_key
FROM unsorted, jsonb_array_elements_text(CAST(NULLIF(unsorted.lists, '') AS JSONB)) AS each WHERE lists <> ''
"""
DROP_STAGED = "DROP TABLE IF EXISTS unsorted, incoming, joining"


class PostgreSQLConnection:
    """A Connection to a PostgreSQL server. A write waits up to `wait` seconds for another writer of the same rows."""

    engine = "postgresql"
    for_update_skip_locked = "FOR UPDATE SKIP LOCKED"
    for_update = "FOR UPDATE"
    for_key_share_of_l = "FOR KEY SHARE OF l"
    sending_index_hint = ""
    merged_json = "CAST(CAST({old} AS JSONB) || CAST({new} AS JSONB) AS TEXT)"
    json_size = "(SELECT COUNT(*) FROM jsonb_object_keys(CAST({json} AS JSONB)))"
    wal_path: Path | None = None

    def __init__(self, url: str, folder: Path, wait: float = 5.0) -> None:
        """`folder` is for the lock files that show which senders of this host are alive."""
        self.guard: Guard | None = None
        self._url = url
        self._options = _options({**TIMEOUTS, "lock_timeout": wait})
        self._in_transaction = False
        self._listens = False
        self._pending: PipelinedTransaction | None = None
        self._connection = self._connect()
        self._locks = SenderLocks(folder / _file_name(self._connection.info))

    def fetch_all(self, sql: str, **values: object) -> list[Row]:
        """Run a statement and return all rows."""
        cursor = self._execute(named(sql), values)
        return cursor.fetchall()

    def fetch_one(self, sql: str, **values: object) -> Row | None:
        """Run a statement and return the first row, or None."""
        rows = self.fetch_all(sql, **values)
        return rows[0] if rows else None

    def execute(self, sql: str, **values: object) -> int:
        """Run a statement and return the number of rows it changed."""
        return self._execute(named(sql), values).rowcount

    def executemany(self, sql: str, rows: Iterable[tuple[object, ...]]) -> int:
        """Run a statement of MANY_ROWS for all of `rows` at once. Return how many rows it changed."""
        return self._execute(MANY_ROWS[sql], arrays(rows)).rowcount

    def insert(self, sql: str, rows: Sequence[tuple[object, ...]]) -> int:
        """Run an INSERT of MANY_ROWS for all of `rows` at once. Return how many rows it inserted."""
        return self.executemany(sql, rows)

    def execute_pipelined(self, statements: Sequence[Statement]) -> list[list[Row] | int]:
        """Run statements in order. Return the rows of each, or how many it changed. Writes need a transaction."""
        self._wait_for_pending()
        try:
            with self._connection.pipeline():
                cursors = [self._connection.execute(*cast("Any", for_psycopg(*each))) for each in statements]
        except psycopg.Error as error:
            raise translated(error) from error
        return [cursor.fetchall() if cursor.description else cursor.rowcount for cursor in cursors]

    def submit_transaction(self, statements: Sequence[Statement]) -> PipelinedTransaction:
        """Send statements as a separate transaction, and return without waiting for it to end."""
        self._wait_for_pending()
        try:
            self._pending = self._pipeline.submit(statements)
        except psycopg.Error as error:
            raise translated(error) from error
        return self._pending

    def stream(self, sql: str) -> Iterator[Row]:
        """Yield the rows of a statement, a few at a time. The reader may take any time, with the transaction idle."""
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
        """Run several statements in the open transaction."""
        self._execute(script, None)

    def structure(self) -> Structure:
        """Return the structure of this database's tables."""
        ((schema, name),) = self.fetch_all(SELECT_SCHEMA)
        return self._structure(schema, name)

    def structure_of(self, script: str) -> Structure:
        """Return the structure of the tables that a script creates, by creating temporary ones.

        This needs no more privileges than an import of recipients. Temporary functions are found only by their
        qualified name.
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
        """Wait for every transaction that has read `meta`, which all guarded ones have, and block new ones."""
        self.executescript("SET LOCAL statement_timeout = 0; LOCK TABLE meta IN ACCESS EXCLUSIVE MODE")

    def has_tables(self) -> bool:
        """Return whether the tables exist. Inside a transaction, concurrent callers wait until it ends."""
        self._execute("SELECT pg_advisory_xact_lock(%s)", [INIT_LOCK_KEY])
        return self.fetch_all("SELECT to_regclass('meta')") != [(None,)]

    def server_version(self) -> str:
        """Return the name and version, such as `PostgreSQL 17.2`."""
        ((version,),) = self.fetch_all("SHOW server_version")
        return f"PostgreSQL {str(version).partition(' ')[0]}"

    def integrity_check(self, seconds: float) -> list[str] | None:
        """Return an empty list: the server checks its own files (data_checksums)."""
        return []

    def set_storage_parameters(self) -> None:
        """Set how the new tables are stored and vacuumed, and create the triggers that maintain `status_counts`."""
        self.executescript(STORAGE_PARAMETERS + count_triggers.POSTGRESQL)

    def analyze(self) -> None:
        """Update the statistics of the deliveries. Without them, a claim could sort all of them."""
        self._execute("ANALYZE deliveries", None)

    def stage_addresses(self, addresses: Iterable[Address]) -> None:
        """Fill the tables `incoming`, sorted by key, and `joining`."""
        self.unstage_addresses()
        with self.transaction():
            self._execute(CREATE_UNSORTED, None)
            self.load("unsorted", ("address", "address_key", "fields", "lists"), addresses)
            self._execute(CREATE_INCOMING, None)

    def unstage_addresses(self) -> None:
        self._execute(DROP_STAGED, None)

    def check_not_replaced(self) -> None:
        """Do nothing: a database on a server is not replaced while it is in use."""

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit durably at the end of the block, or roll back on an exception. Nested blocks join the outer one."""
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
        """Notify other processes, on commit of this transaction, that something may be due."""
        self._execute(f"NOTIFY {NOTIFY_CHANNEL}", None)

    def wait_for_notify(self, seconds: float) -> bool:
        """Wait up to `seconds` for a notification. Return True at once if one may have been missed."""
        if not self._listens or self._connection.closed:
            self._execute(f"LISTEN {NOTIFY_CHANNEL}", None)
            self._listens = True
            return True
        try:
            return any(True for _ in self._connection.notifies(timeout=seconds, stop_after=1))
        except psycopg.Error as error:
            raise translated(error) from error

    def lease_time(self) -> LeaseTime:
        """Return the server's clock, which is the same for all machines."""
        ((milliseconds,),) = self.fetch_all(SELECT_LEASE_TIME)
        return LeaseTime("postgresql", milliseconds)

    def hold_sender_lock(self, sender_id: int) -> None:
        """Lock a file that belongs to this sender. The kernel releases the lock when this process dies."""
        try:
            self._locks.hold(sender_id)
        except OSError as error:
            reason = f"cannot create the lock file of a sender: {error.filename} ({error.strerror})"
            remedy = "give this user write access to that folder, or set DATA_DIR to another one"
            raise DatabaseReadOnly(reason, remedy) from error

    def release_sender_lock(self, sender_id: int) -> None:
        self._locks.release(sender_id)

    def sender_lock_is_free(self, sender_id: int) -> bool:
        """Return whether it is certain that the sender died on this host. False for senders on other hosts."""
        return self._locks.is_free(sender_id)

    def size(self) -> int:
        """Return the size of this database on the server's disk, in bytes."""
        ((size,),) = self.fetch_all("SELECT pg_database_size(current_database())")
        return int(size)

    def close(self) -> None:
        """Close the connection. An open transaction is rolled back."""
        self._connection.close()

    def _connect(self) -> psycopg.Connection[Row]:
        self._listens = False
        try:
            parameters = connection_parameters(self._url, self._options)
            connection = psycopg.connect(self._url, autocommit=True, **parameters)
        except psycopg.Error as error:
            raise translated(error) from error
        # psycopg sends each integer as the smallest type that it fits, but 20000 + 20000 does not fit a SMALLINT.
        connection.adapters.register_dumper(int, Int8Dumper)
        self._pipeline, self._pending = Pipeline(connection.pgconn), None
        return connection

    def _execute(self, sql: str, values: Mapping[str, object] | list[Any] | None) -> psycopg.Cursor[Row]:
        """Run a statement, or several without `values`. Outside a transaction, first reopen a lost connection."""
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
        """Wait for a submitted transaction, which occupies the connection until it ends."""
        if self._pending is not None:
            self._pending.wait()
            self._pending = None

    def _roll_back(self) -> None:
        if self._connection.closed or self._connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            return
        try:
            self._connection.execute("ROLLBACK")
        except psycopg.Error:
            self._connection.close()  # then the server rolls back


def _options(timeouts: Mapping[str, float]) -> str:
    """Return the session parameters for the server, as libpq's `options`. `timeouts` are in seconds."""
    settings: dict[str, object] = {name: round(seconds * 1000) for name, seconds in timeouts.items()}
    settings |= SERVER_KEEPALIVES | dict.fromkeys(DISABLED_PLANS, "off")
    return " ".join(f"-c {name}={value}" for name, value in settings.items())


def _file_name(info: psycopg.ConnectionInfo) -> str:
    """Return the part of a file name that identifies this database."""
    return re.sub(r"[^\w.-]", "_", f"postgresql-{info.host}-{info.port}-{info.dbname}")
