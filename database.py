"""The public interface of the data layer.

`open_database` returns a Database whose schema has this program's version. Its methods are grouped by kind of record:
`database.emails`, `.recipients`, `.deliveries`, `.imports` and so on. All of its exceptions are DBErrors.

Times. The tables hold whole seconds since 1970 UTC. Everything that the pages, the API, commands and monitoring call
takes and returns aware datetimes: `emails`, `recipients`, `imports`, `sessions`, `health`, the lists, `retry` and
`decide` of `deliveries`, and the methods and functions of this module. They convert at once
(`storage.values.epoch_seconds` and `moment`), and everything below them works with integers. The methods that a sweep
calls for each message or batch, and those that tell a scheduler when there is work, take and return these integers and
never create a datetime: `claims`, `progress`, `senders`, recording, releasing and the `next_attempt_at` of
`deliveries`, and here the heartbeat, `has_work` and `next_work_at`.

There is no ORM. Each method runs a few lines of SQL from the module of its noun in `storage/`. What differs between
engines is in one class per engine (storage/sqlite/connection.py, storage/postgresql/connection.py).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import TypeVar, cast

from settings import Settings
from storage import copying, database_info, pruning
from storage.audiences.audiences import EVERYONE, Audience, AudienceCount, Audiences
from storage.cancellation import Cancelled
from storage.clock import boot_clock, format_utc
from storage.connection import Connection
from storage.database_info import DatabaseInfo
from storage.deliveries.claim import Claim, Claims
from storage.deliveries.listing import Attempt, DeliveryPage, DeliveryRow, Reason
from storage.deliveries.outcome import (
    Accepted,
    Deliveries,
    Delivery,
    DeliveryKey,
    DeliveryUpdate,
    SendIntent,
)
from storage.deliveries.retry import Standings
from storage.drafts import Draft, Drafts, DraftSummary
from storage.email_listing import EmailsFound, EmailSummary
from storage.emails import Email, Emails, ReplaceResult, SaveResult, TextToSend, require_saved
from storage.errors import (
    RESTORE_BACKUP,
    DatabaseBusy,
    DatabaseFull,
    DatabaseMissing,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DBError,
    DraftChanged,
    EmailChanged,
    EventIdUsed,
    ListArchived,
    ListExists,
    ListInBoth,
    NoActiveRecipients,
    NoSuchDraft,
    NoSuchEmail,
    NoSuchList,
    NoSuchRecipient,
    NoSuchRemoval,
    NoSuchTemplate,
    NotCancellable,
    NotHeld,
    NotInDoubt,
    NotReplaceable,
    NotRetryable,
    SchemaMismatch,
    TemplateExists,
    TooManyFields,
    UnusableList,
    WrongStatus,
)
from storage.group_commit import GroupCommit
from storage.hourly_stats import BUCKETS
from storage.idle import HAS_WORK, HEARTBEAT_SECONDS, OLDEST_PRUNABLE
from storage.lists.lists import List, ListCounts, Lists, Member, MembersAdded, Membership, MembersReplaced, WaitingEmail
from storage.personal_fields import PersonalFields, Survey
from storage.progress import DueEmail, Progress, ProgressTable
from storage.pruning import Pruned
from storage.recipients.imports import Import, Imports
from storage.recipients.recipients import Added, HistoryPage, HistoryRow, Recipient, Recipients
from storage.recipients.removals import Removal, Restored
from storage.schema import guard
from storage.schema.upgrading import create_or_upgrade
from storage.search.index import SearchIndex
from storage.search.words import Word, fold_value
from storage.senders.clock_steps import Clocks, WrongClock, offset_is_right
from storage.senders.leases import LEASE_SECONDS, RENEW_SECONDS, Senders
from storage.senders.sender_errors import CLOCK, MAIL_SERVER, SenderError, SenderErrors
from storage.senders.unreachable_addresses import UnreachableAddresses
from storage.sessions import EndedSessions
from storage.sqlite.backup import back_up
from storage.sqlite.connection import SQLiteConnection, create_file
from storage.stats import Health, Hour, Totals
from storage.templates import Template, Templates, TemplateSummary
from storage.values import (
    DELIVERY_STATUSES,
    EMAIL_STATUSES,
    RECIPIENT_STATUSES,
    RETRYABLE_STATUSES,
    Address,
    epoch_seconds,
    name_key,
)

__all__ = [
    "BUCKETS",
    "CLOCK",
    "DELIVERY_STATUSES",
    "EMAIL_STATUSES",
    "EVERYONE",
    "HEARTBEAT_SECONDS",
    "LEASE_SECONDS",
    "MAIL_SERVER",
    "RECIPIENT_STATUSES",
    "RENEW_SECONDS",
    "RESTORE_BACKUP",
    "RETRYABLE_STATUSES",
    "Accepted",
    "Added",
    "Address",
    "Attempt",
    "Audience",
    "AudienceCount",
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
    "DeliveryKey",
    "DeliveryPage",
    "DeliveryRow",
    "DeliveryUpdate",
    "Draft",
    "DraftChanged",
    "DraftSummary",
    "DueEmail",
    "Email",
    "EmailChanged",
    "EmailSummary",
    "EmailWriter",
    "EmailsFound",
    "EventIdUsed",
    "HistoryPage",
    "HistoryRow",
    "Hour",
    "Import",
    "List",
    "ListArchived",
    "ListCounts",
    "ListExists",
    "ListInBoth",
    "Lists",
    "Member",
    "MembersAdded",
    "MembersReplaced",
    "Membership",
    "NoActiveRecipients",
    "NoSuchDraft",
    "NoSuchEmail",
    "NoSuchList",
    "NoSuchRecipient",
    "NoSuchRemoval",
    "NoSuchTemplate",
    "NotCancellable",
    "NotHeld",
    "NotInDoubt",
    "NotReplaceable",
    "NotRetryable",
    "Progress",
    "Reason",
    "Recipient",
    "Removal",
    "ReplaceResult",
    "Restored",
    "SaveResult",
    "SchemaMismatch",
    "SendIntent",
    "SenderError",
    "Standings",
    "Survey",
    "Template",
    "TemplateExists",
    "TemplateSummary",
    "TextToSend",
    "TooManyFields",
    "Totals",
    "UnusableList",
    "WaitingEmail",
    "Word",
    "WrongClock",
    "WrongStatus",
    "boot_clock",
    "db_init",
    "fold_value",
    "format_utc",
    "name_key",
    "offset_is_right",
    "open_database",
    "require_saved",
]

SELECT_META = "SELECT value FROM meta WHERE name = :name"


T = TypeVar("T")

_IMPORT_LOCK = threading.Lock()


class Database:
    """The database on one connection, for one thread."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.progress = ProgressTable(connection)
        self.audiences = Audiences(connection)
        self.emails = Emails(connection, self.progress)
        self.recipients = Recipients(connection, self.progress)
        self.drafts = Drafts(connection, self.emails)
        self.templates = Templates(connection)
        self.personal_fields = PersonalFields(connection, self.audiences)
        self.lists = Lists(connection, self.progress)
        self.claims = Claims(connection, self.progress)
        self.deliveries = Deliveries(connection, self.progress, self.recipients)
        self.senders = Senders(connection, self.deliveries)
        self.imports = Imports(connection, self.progress)
        self.search_index = SearchIndex(connection)
        self.health = Health(connection)
        self.sessions = EndedSessions(connection)
        self.clocks = Clocks(connection)
        self.sender_errors = SenderErrors(connection)
        self.unreachable_addresses = UnreachableAddresses(connection)

    def meta(self, name: str) -> str:
        """Return a value that belongs to the whole installation, such as the `secret_key` that `db_init` created."""
        row = self.connection.fetch_one(SELECT_META, name=name)
        if row is None:
            raise DatabaseMissing(f"the database is damaged: it has no {name}", RESTORE_BACKUP)
        if not isinstance(row[0], str) or not row[0]:
            raise DatabaseUnavailable(f"the database is damaged: its {name} is empty or not text", RESTORE_BACKUP)
        return row[0]

    def last_heartbeat_at(self) -> int:
        """Return when a sweep last checked the database, or when it was created, in seconds since 1970 UTC."""
        return self.clocks.heartbeat_at()

    def record_heartbeat(self, now: int) -> None:
        """Record that a sweep checked the database, and found the clock right."""
        self.clocks.record(now)

    def info(self) -> DatabaseInfo:
        return database_info.database_info(self.connection)

    def back_up(self, target: Path, now: datetime) -> dict[str, int]:
        """Back up the database while it is in use. Return the number of rows by table.

        Raises BackupRefused, or OSError for the target file.
        """
        return back_up(self.connection, target, epoch_seconds(now))

    def mark_as_restored(self, now: datetime) -> None:
        """Mark a database restored from another program's backup. The next sweep puts its due emails on hold."""
        self.progress.mark_as_backup(epoch_seconds(now))

    def any_prunable(self, before: datetime) -> bool:
        """Return whether any email was finished before `before` and can be pruned."""
        return self.connection.fetch_one(OLDEST_PRUNABLE, before=epoch_seconds(before)) is not None

    def prune(self, before: datetime, go_on: Callable[[], bool] = lambda: True) -> Pruned:
        """Delete the content and deliveries of emails finished before `before`, in steps, while `go_on()`."""
        return pruning.prune(self.connection, self.progress, epoch_seconds(before), go_on)

    def next_work_at(self) -> int | None:
        """Return when the next email or delivery is due, in seconds since 1970 UTC, or None. It may be in the past."""
        times = (self.progress.next_due_at(), self.deliveries.next_attempt_at())
        return min((time for time in times if time is not None), default=None)

    def has_work(self, now: int, *, log: bool = True) -> bool:
        """Return whether there is work for a sweep: something due, unfinished, not logged, or left by a dead sender.

        Without `log`, emails that are only not logged do not count. Raises SchemaMismatch or DatabaseMissing if the
        database was upgraded or replaced since it was opened.
        """
        self.connection.check_not_replaced()
        guard.check_version(self.connection)
        found = self.connection.fetch_one(HAS_WORK, until=now, log=int(log))
        return found in ((True,), (1,)) or self.senders.any_dead()

    def wait_for_notify(self, seconds: float) -> bool:
        """Sleep for `seconds`, or until another process notifies this one that something may be due.

        Return whether a notification may have arrived. SQLite cannot notify, so this sleeps for the whole time.
        """
        return self.connection.wait_for_notify(seconds)

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Database:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def open_database(settings: Settings, wait: float = 5.0) -> Database:
    """Connect to the database and check its schema. Raises DatabaseUnavailable (SchemaMismatch is one), with a remedy.

    A write waits up to `wait` seconds for another writer, and then raises DatabaseBusy.
    """
    connection = _connect(settings, wait)
    try:
        guard.check(connection)
    except DBError:
        connection.close()
        raise
    connection.guard = guard.GUARD
    return Database(connection)


def db_init(settings: Settings, now: datetime) -> str:
    """Create the schema, or upgrade it to this program's version. Return what was done. Safe to repeat.

    If this raises DatabaseUnavailable (SchemaMismatch is one), nothing was changed.
    """
    if settings.database_path is not None:
        create_file(settings.database_path)
    connection = _connect(settings, wait=60.0)
    try:
        done = create_or_upgrade(connection, epoch_seconds(now))
        if isinstance(connection, SQLiteConnection):
            connection.switch_to_wal()
        return done
    finally:
        connection.close()


def copy_database(source: Database, target: Database) -> dict[str, int]:
    """Copy everything into an empty database, or nothing. Return the number of rows by table. Raises CopyRefused."""
    return copying.copy(source.connection, target.connection)


def _connect(settings: Settings, wait: float) -> Connection:
    if settings.database_path is None:
        with _IMPORT_LOCK:  # if psycopg is missing, every thread must fail in the same way
            from storage.postgresql.connection import PostgreSQLConnection  # psycopg is optional

        return PostgreSQLConnection(settings.database_url, settings.data_dir, wait)
    return SQLiteConnection(settings.database_path, wait)


class Databases:
    """Databases that stay open between requests: one per thread, or a single one that is kept in `place`."""

    def __init__(self, settings: Settings, place: object | None = None) -> None:
        self._settings = settings
        self._place = place or threading.local()

    def current(self) -> Database:
        """Return the open database of this thread or place. Opens it if necessary, and raises what that raises."""
        kept = cast("_Kept | None", self._place.__dict__.get("kept"))
        if kept is None:
            kept = self._place.__dict__["kept"] = _Kept(open_database(self._settings))
        return kept.database

    def close(self) -> None:
        """Close the database. The next use opens it again."""
        kept = cast("_Kept | None", self._place.__dict__.pop("kept", None))
        if kept is not None:
            kept.close()

    def act(self, act: Callable[[Database], T]) -> T:
        """Call `act` with the database and return its result. A database that failed is closed, and not used again.

        If the file was deleted or replaced, this is noticed before `act` is called, and the new file is used.
        """
        try:
            return act(self._usable())
        except DatabaseUnavailable:
            self.close()
            raise

    def _usable(self) -> Database:
        try:
            database = self.current()
            database.connection.check_not_replaced()
        except DatabaseMissing:
            self.close()
            return self.current()
        return database


class EmailWriter:
    """Saves the emails of all threads on one connection. Those that arrive together share a transaction and a sync."""

    def __init__(self, settings: Settings, wait: float = 5.0) -> None:
        """An email whose transaction has not begun within `wait` seconds is withdrawn with DatabaseBusy."""
        self._databases = Databases(settings, SimpleNamespace())
        self._group_commit = GroupCommit(self._commit, wait)

    def connect(self) -> Database:
        """Open the connection if necessary, and return its database. Raises DatabaseUnavailable."""
        return self._databases.current()

    def save(self, email: Email, now: datetime) -> None:
        """Save a new email durably. Raises EventIdUsed, even if the same email was saved before.

        Also raises NoSuchList, ListArchived or ListInBoth for its audience.
        """
        require_saved(email, self._group_commit.save((email, now)))

    def close(self) -> None:
        """Close the connection. The next email opens it again."""
        self._databases.close()

    def _commit(self, drain_queue: Callable[[], list[tuple[Email, datetime]]]) -> list[SaveResult | DBError]:
        """Save what `drain_queue` returns once the write lock is held, so that emails that arrived meanwhile join."""
        return self._databases.act(lambda database: database.emails.save_group(drain_queue))


class _Kept:
    """A database that is closed when its place disappears, for example when its thread ends."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.close = weakref.finalize(self, database.close)
        self.close.atexit = False  # at exit, the kernel closes it faster
