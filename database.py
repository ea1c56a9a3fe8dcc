"""The data layer as the rest of the program sees it.

`open_database` gives a Database whose tables are of this program's version; the acts are grouped by noun:
`database.emails`, `.recipients`, `.progress`, `.claims`, `.deliveries`, `.senders`. Everything that can go wrong is a
DBError. No ORM: each act is a few lines of SQL in the module of its noun in `storage/`, and what differs between
databases is in one class for each kind, such as `storage/sqlite/connection.py`.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar, cast

from settings import Settings
from storage import condition, copying, pruning, schema
from storage.cancellation import Cancelled
from storage.clock import boot_clock, clock_is_plausible
from storage.condition import Condition
from storage.connection import Connection
from storage.deliveries.claim import Claim, Claims
from storage.deliveries.listing import Attempt, DeliveryPage, DeliveryRow, Reason
from storage.deliveries.outcome import Deliveries, Delivery, Ending, Key, Sent, Settlement
from storage.email_listing import EmailSummary
from storage.emails import Email, Emails, TextToSend, refuse_used
from storage.errors import (
    RESTORE_BACKUP,
    DatabaseBusy,
    DatabaseFull,
    DatabaseMissing,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DBError,
    EventIdUsed,
    NoActiveRecipients,
    NoSuchEmail,
    NoSuchRecipient,
    NotCancellable,
    NotHeld,
    NotInDoubt,
    NotReplaceable,
    NotRetryable,
    SchemaMismatch,
    WrongStatus,
)
from storage.hours import BUCKETS
from storage.idle import ANY_PRUNABLE, HAS_WORK, HEARTBEAT_SECONDS
from storage.leases import LEASE, RENEW, Senders
from storage.progress import Begun, Progress, ProgressTable
from storage.pruning import Pruned
from storage.recipient_imports import Import, Imports
from storage.recipients import Added, HistoryPage, HistoryRow, Recipient, Recipients
from storage.sessions import EndedSessions
from storage.sqlite.backup import back_up
from storage.sqlite.connection import SQLiteConnection, create_file
from storage.stats import Health, Hour, Totals
from storage.upgrading import create_or_upgrade
from storage.values import DELIVERY_STATUSES, EMAIL_STATUSES, RECIPIENT_STATUSES, Address

__all__ = [
    "BUCKETS",
    "DELIVERY_STATUSES",
    "EMAIL_STATUSES",
    "HEARTBEAT_SECONDS",
    "LEASE",
    "RECIPIENT_STATUSES",
    "RENEW",
    "RESTORE_BACKUP",
    "Added",
    "Address",
    "Attempt",
    "Begun",
    "Cancelled",
    "Claim",
    "DBError",
    "Database",
    "DatabaseBusy",
    "DatabaseFull",
    "DatabaseMissing",
    "DatabaseReadOnly",
    "DatabaseUnavailable",
    "Databases",
    "Delivery",
    "DeliveryPage",
    "DeliveryRow",
    "Email",
    "EmailSummary",
    "Ending",
    "EventIdUsed",
    "HistoryPage",
    "HistoryRow",
    "Hour",
    "Import",
    "Key",
    "NoActiveRecipients",
    "NoSuchEmail",
    "NoSuchRecipient",
    "NotCancellable",
    "NotHeld",
    "NotInDoubt",
    "NotReplaceable",
    "NotRetryable",
    "Progress",
    "Reason",
    "Recipient",
    "SchemaMismatch",
    "Sent",
    "Settlement",
    "TextToSend",
    "Totals",
    "WrongStatus",
    "boot_clock",
    "clock_is_plausible",
    "db_init",
    "open_database",
    "refuse_used",
]

META = "SELECT value FROM meta WHERE name = :name"
LAST_SWEEP = "SELECT value FROM counters WHERE name = 'last_sweep_at'"
NOTE_SWEEP = "UPDATE counters SET value = :now WHERE name = 'last_sweep_at'"


T = TypeVar("T")


class Database:
    """One connection, for one thread, and the acts on it."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.progress = ProgressTable(connection)
        self.emails = Emails(connection, self.progress)
        self.recipients = Recipients(connection, self.progress)
        self.claims = Claims(connection, self.progress)
        self.deliveries = Deliveries(connection, self.progress, self.recipients)
        self.senders = Senders(connection, self.deliveries)
        self.imports = Imports(connection, self.progress)
        self.health = Health(connection)
        self.sessions = EndedSessions(connection)

    def meta(self, name: str) -> str:
        """A value of the installation as a whole, such as `secret_key`; made by `db_init`."""
        row = self.connection.fetch_one(META, name=name)
        if row is None:
            raise DatabaseMissing(f"the database is damaged: it has no {name}", RESTORE_BACKUP)
        return str(row[0])

    def last_sweep_at(self) -> int:
        """When a sweep last looked at the database (before the first one: when the tables were made)."""
        row = self.connection.fetch_one(LAST_SWEEP)
        return int(row[0]) if row else 0

    def note_sweep(self, now: int) -> None:
        """Remember that a sweep looked at the database."""
        with self.connection.transaction():
            self.connection.execute(NOTE_SWEEP, now=now)

    def clock_lead(self) -> float | None:
        """Seconds by which the clock of the database's server is ahead of ours; None where it is the same clock."""
        return condition.clock_lead(self.connection)

    def condition(self) -> Condition:
        """What an operator wants to know of it."""
        return condition.look(self.connection)

    def back_up(self, target: Path, now: int) -> dict[str, int]:
        """Make a copy of a database in use, whole or not at all; the rows of each table in it. Raises BackupRefused."""
        return back_up(self.connection, target, now)

    def any_prunable(self, before: int) -> bool:
        """Whether an email was finished before this second and still has its content."""
        return self.connection.fetch_one(ANY_PRUNABLE, before=before) is not None

    def prune(self, before: int, go_on: Callable[[], bool] = lambda: True) -> Pruned:
        """Forget content and deliveries of what was finished before this second, as long as `go_on`, bit by bit."""
        return pruning.prune(self.connection, self.progress, before, go_on)

    def next_work_at(self) -> int | None:
        """When an email or a delivery is next due, in seconds since 1970 UTC; what is due now is in the past."""
        times = (self.progress.next_due_at(), self.deliveries.next_attempt_at())
        return min((time for time in times if time is not None), default=None)

    def has_work(self, now: int, *, log: bool = True) -> bool:
        """Return whether a sweep has anything to do: something is due, unfinished, left by a dead sender or not logged.

        Raises SchemaMismatch or DatabaseMissing if the database was upgraded or replaced since it was opened.
        """
        self.connection.check_not_replaced()
        schema.check_version(self.connection)
        found = self.connection.fetch_one(HAS_WORK, until=now, log=int(log))
        return found in ((True,), (1,)) or self.senders.any_dead()

    def wait_for_notify(self, seconds: float) -> bool:
        """Sleep for so long, or until another process said that something may be due, where it can: then True."""
        return self.connection.wait_for_notify(seconds)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_database(settings: Settings, wait: float = 5.0) -> Database:
    """Connect. Raises a DatabaseUnavailable that names the remedy, SchemaMismatch among them.

    A write waits up to `wait` seconds for another writer, then raises DatabaseBusy.
    """
    connection = _connect(settings, wait)
    try:
        schema.check(connection)
    except DBError:
        connection.close()
        raise
    connection.guard = schema.GUARD
    return Database(connection)


def db_init(settings: Settings, now: int) -> str:
    """Create the schema, or upgrade it to this program's version; return what was done. Safe to repeat.

    Raises DatabaseUnavailable, SchemaMismatch among them, and has changed nothing then.
    """
    if settings.database_path is not None:
        create_file(settings.database_path)
    connection = _connect(settings, wait=60.0)
    try:
        done = create_or_upgrade(connection, now)
        if isinstance(connection, SQLiteConnection):
            connection.switch_to_wal()
        return done
    finally:
        connection.close()


def copy_database(source: Database, target: Database) -> dict[str, int]:
    """Copy everything into an empty database, all or nothing; how many rows of each table. Raises CopyRefused."""
    return copying.copy(source.connection, target.connection)


def _connect(settings: Settings, wait: float) -> Connection:
    if settings.database_path is None:
        from storage.postgresql.connection import PostgreSQLConnection  # psycopg is there only where it is needed

        return PostgreSQLConnection(settings.database_url, settings.folder, wait)
    return SQLiteConnection(settings.database_path, wait)


class Databases:
    """Databases kept between requests, opened when first needed: one for each thread, or one in a `place` of all."""

    def __init__(self, settings: Settings, place: object | None = None) -> None:
        self._settings = settings
        self._place = place or threading.local()

    def current(self) -> Database:
        """The database of this place."""
        kept = cast("_Kept | None", self._place.__dict__.get("kept"))
        if kept is None:
            kept = self._place.__dict__["kept"] = _Kept(open_database(self._settings))
        return kept.database

    def close(self) -> None:
        """Close it; the next use opens it anew."""
        kept = cast("_Kept | None", self._place.__dict__.pop("kept", None))
        if kept is not None:
            kept.close()

    def act(self, act: Callable[[Database], T]) -> T:
        """What `act` returns for the database of this place. One that failed is never used again.

        A file that was deleted or replaced underneath is refused before anything is done in it, so that it is
        safe to try the one now in its place.
        """
        try:
            database = self.current()
            database.connection.check_not_replaced()
            return act(database)
        except DatabaseMissing:
            self.close()
            return act(self.current())
        except DatabaseUnavailable:
            self.close()
            raise


class _Kept:
    """A database that is closed at the latest when its place goes, as that of a thread does with the thread."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.close = weakref.finalize(self, database.close)
        self.close.atexit = False  # the kernel is quicker, and waits for nobody
