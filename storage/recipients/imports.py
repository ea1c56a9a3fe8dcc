"""Uploaded files of recipients: stored in parts, read, imported in one commit, and undone in batches.

The process that works on an import updates its heartbeat. If the heartbeat stops, another process may continue. Only an
import with the status `importing` can be committed, so only one of two processes does so, and an import that was undone
stays undone.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from storage import sequences
from storage.connection import Connection
from storage.lists import memberships
from storage.progress import ProgressTable
from storage.recipients import adding, undoing
from storage.values import Address, epoch_seconds, moment, moment_or_none

HEARTBEAT_TIMEOUT_SECONDS = 60  # without a heartbeat for this long, an import was interrupted
MAX_KEPT = 100  # imports that are kept; older ones are deleted
RETENTION_SECONDS = 30 * 86_400  # imports are deleted after this
UNUSED_RETENTION_SECONDS = 86_400  # files that nobody imports are deleted after this
RUNNING_STATUSES = ("reading", "importing", "undoing")
# The status that each step requires, and the one it sets. An interrupted step can be repeated.
STEPS = {"read": ("ready", "reading"), "import": ("ready", "importing"), "undo": ("done", "undoing")}

COLUMNS = """
import_id, file_name, status, created_at, finished_at, heartbeat_at, error, size, position, valid, invalid, skipped,
duplicates, added, existing, unsubscribed, rejected, after_id, last_id, removed, kept, list_id, options, preview
"""
SELECT_IMPORT = f"SELECT {COLUMNS} FROM imports WHERE import_id = :import_id"  # noqa: S608
SELECT_RECENT = f"SELECT {COLUMNS} FROM imports ORDER BY import_id DESC LIMIT :limit"  # noqa: S608
SELECT_PART = "SELECT content FROM import_parts WHERE import_id = :import_id AND part = :part"
SELECT_INVALID_LINES = "SELECT invalid_lines FROM imports WHERE import_id = :import_id"
INSERT_IMPORT = """
INSERT INTO imports (import_id, file_name, status, created_at, heartbeat_at, size)
VALUES (:import_id, :file_name, 'reading', :now, :now, 0)
"""
INSERT_PART = "INSERT INTO import_parts (import_id, part, content) VALUES (:import_id, :part, :content)"
SET_SIZE = "UPDATE imports SET size = :size WHERE import_id = :import_id"
DELETE_OLD = """
DELETE FROM imports WHERE import_id <= :last - :kept OR created_at < :old OR (
    status IN ('reading', 'refused', 'ready', 'importing') AND created_at < :waited AND heartbeat_at < :waited)
"""
DELETE_ORPHANED_PARTS = "DELETE FROM import_parts WHERE import_id NOT IN (SELECT import_id FROM imports)"
DELETE_PARTS = "DELETE FROM import_parts WHERE import_id = :import_id"
DELETE_UNUSED = "DELETE FROM imports WHERE import_id = :import_id AND status IN ('refused', 'ready')"
BEGIN_STEP = """
UPDATE imports SET position = CASE WHEN status = :step THEN position ELSE 0 END, status = :step, heartbeat_at = :now,
    error = NULL
WHERE import_id = :import_id AND (status = :before OR (status = :step AND heartbeat_at < :now - :timeout))
"""
SET_OPTIONS = """
UPDATE imports SET options = :options, list_id = :list_id WHERE import_id = :import_id AND status = 'ready'
"""
RECORD_POSITION = """
UPDATE imports SET position = :position, heartbeat_at = :now
WHERE import_id = :import_id AND status IN ('reading', 'importing')
"""
RECORD_ERROR = """
UPDATE imports SET error = :error, heartbeat_at = 0
WHERE import_id = :import_id AND status IN ('reading', 'importing', 'undoing')
"""
SET_REFUSED = """
UPDATE imports SET status = 'refused', error = :error, invalid = :invalid, invalid_lines = :invalid_lines
WHERE import_id = :import_id AND status = 'reading'
"""
SET_READY = """
UPDATE imports SET status = 'ready', position = size, valid = :valid, invalid = :invalid, skipped = :skipped,
    duplicates = :duplicates, added = :added, existing = :existing, unsubscribed = :unsubscribed, rejected = :rejected,
    preview = :preview, invalid_lines = :invalid_lines
WHERE import_id = :import_id AND status = 'reading'
"""
LOCK_IMPORTING = "SELECT list_id, options FROM imports WHERE import_id = :import_id AND status = 'importing'"
SET_DONE = """
UPDATE imports SET status = 'done', finished_at = :now, position = size, added = :added, existing = :existing,
    unsubscribed = :unsubscribed, rejected = :rejected, after_id = :after_id, last_id = :last_id, options = :options
WHERE import_id = :import_id
"""
COMPARE_INCOMING = """
SELECT CASE WHEN r.recipient_id IS NULL THEN 'added' WHEN r.status = 'active' THEN 'existing' ELSE r.status END,
    COUNT(*)
FROM incoming i LEFT JOIN recipients r ON r.address_key = i.address_key
GROUP BY 1
"""


class Comparison(NamedTuple):
    """How many of the distinct addresses are new, already active, or inactive. Inactive ones stay inactive."""

    added: int
    existing: int
    unsubscribed: int
    rejected: int


class Import(NamedTuple):
    """An uploaded file and the state of its import. The columns are described in `schema.sql`."""

    import_id: int
    file_name: str
    status: str
    created_at: datetime
    finished_at: datetime | None
    heartbeat_at: datetime
    error: str | None
    size: int
    position: int
    valid: int
    invalid: int
    skipped: int
    duplicates: int
    added: int
    existing: int
    unsubscribed: int
    rejected: int
    after_id: int
    last_id: int
    removed: int
    kept: int
    list_id: int | None
    options: str | None
    preview: str | None

    def is_running(self, now: datetime) -> bool:
        """Return whether a process is working on this import."""
        earliest = now.replace(microsecond=0) - timedelta(seconds=HEARTBEAT_TIMEOUT_SECONDS)
        return self.status in RUNNING_STATUSES and self.heartbeat_at >= earliest

    def is_broken_off(self, now: datetime) -> bool:
        """Return whether the process that was working on this import has died."""
        return self.status in RUNNING_STATUSES and not self.is_running(now)


class Imports:
    """All imports of an installation."""

    def __init__(self, connection: Connection, progress: ProgressTable) -> None:
        self._connection = connection
        self._progress = progress

    def create(self, file_name: str, parts: Iterable[bytes], now: datetime) -> int:
        """Store a file and return its import_id. Also deletes old imports, and files that nobody imported."""
        second = epoch_seconds(now)
        with self._connection.transaction():
            import_id = sequences.reserve(self._connection, "import_id")
            old = {
                "last": import_id,
                "kept": MAX_KEPT,
                "old": second - RETENTION_SECONDS,
                "waited": second - UNUSED_RETENTION_SECONDS,
            }
            if self._connection.execute(DELETE_OLD, **old):
                self._connection.execute(DELETE_ORPHANED_PARTS)
            self._connection.execute(INSERT_IMPORT, import_id=import_id, file_name=file_name, now=second)
            size = 0
            for part, content in enumerate(parts):
                self._connection.execute(INSERT_PART, import_id=import_id, part=part, content=content)
                size += len(content)
            self._connection.execute(SET_SIZE, import_id=import_id, size=size)
        return import_id

    def get(self, import_id: int) -> Import | None:
        """Return the import with this ID, or None."""
        row = self._connection.fetch_one(SELECT_IMPORT, import_id=import_id)
        return None if row is None else _import_of(*row)

    def recent(self, limit: int = 20) -> list[Import]:
        """Return up to `limit` imports, newest first."""
        return [_import_of(*row) for row in self._connection.fetch_all(SELECT_RECENT, limit=limit)]

    def part(self, import_id: int, part: int) -> bytes:
        """Return the bytes of a part, or b"" after the last one."""
        row = self._connection.fetch_one(SELECT_PART, import_id=import_id, part=part)
        return b"" if row is None else bytes(row[0])

    def invalid_lines(self, import_id: int) -> str | None:
        """Return the first invalid lines as CSV, as passed to `ready` or `refuse`, or None if there are none."""
        row = self._connection.fetch_one(SELECT_INVALID_LINES, import_id=import_id)
        return None if row is None else row[0]

    def begin(self, import_id: int, step: str, now: datetime) -> bool:
        """Begin a step: `read`, `import` or `undo`. Return False if another process is doing it or has done it."""
        before, status = STEPS[step]
        values = {"before": before, "step": status, "now": epoch_seconds(now), "timeout": HEARTBEAT_TIMEOUT_SECONDS}
        with self._connection.transaction():
            return self._connection.execute(BEGIN_STEP, import_id=import_id, **values) == 1

    def choose(self, import_id: int, options: Mapping[str, object], list_name: str | None) -> bool:
        """Record what to do with the columns, and the list that everyone joins. Return False if it is too late.

        Raises NoSuchList. The options are for the caller, except `joined`, which is set when the import is done.
        """
        with self._connection.transaction():
            ids = memberships.find(self._connection, [list_name] if list_name else [])
            values = {"options": json.dumps(options), "list_id": ids[0] if ids else None}
            return self._connection.execute(SET_OPTIONS, import_id=import_id, **values) == 1

    def note(self, import_id: int, position: int, now: datetime) -> None:
        """Record the number of bytes read so far, and a heartbeat."""
        with self._connection.transaction():
            self._connection.execute(RECORD_POSITION, import_id=import_id, position=position, now=epoch_seconds(now))

    def break_off(self, import_id: int, error: str) -> None:
        """Record that the step failed. It can be repeated."""
        with self._connection.transaction():
            self._connection.execute(RECORD_ERROR, import_id=import_id, error=error)

    def refuse(self, import_id: int, error: str, invalid: int = 0, invalid_lines: str = "") -> None:
        """Record that the file cannot be imported."""
        with self._connection.transaction():
            values = {"error": error, "invalid": invalid, "invalid_lines": invalid_lines}
            self._connection.execute(SET_REFUSED, import_id=import_id, **values)
            self._connection.execute(DELETE_PARTS, import_id=import_id)

    def compare(self, addresses: Iterable[Address]) -> Comparison:
        """Return the result that importing these addresses would have. Changes nothing."""
        self._connection.stage_addresses(addresses)
        try:
            return self._compare_staged()
        finally:
            self._connection.unstage_addresses()

    def ready(
        self,
        import_id: int,
        found: Comparison,
        *,
        valid: int,
        invalid: int,
        skipped: int,
        preview: str,
        invalid_lines: str,
    ) -> None:
        """Record that the whole file was read. It now waits for the user to import it.

        `valid` is the number of lines with an address, and `found` the comparison of these with the list. `invalid`
        lines cannot be imported. `skipped` lines are marked as inactive in the file itself. `invalid_lines` are the
        first invalid lines as CSV.
        """
        counts = {"valid": valid, "invalid": invalid, "skipped": skipped, "duplicates": valid - sum(found)}
        texts = {"preview": preview, "invalid_lines": invalid_lines}
        with self._connection.transaction():
            self._connection.execute(SET_READY, import_id=import_id, **counts, **texts, **found._asdict())

    def finish(
        self, import_id: int, addresses: Iterable[Address], now: datetime, *, field_names: Collection[str] = ()
    ) -> bool:
        """Add the addresses that are new. Return False if another process has done so.

        All addresses are read before anything is locked. Recipients who unsubscribed or were rejected keep their
        status, and those who were removed after unsubscribing stay removed. `field_names` are the names of all personal
        fields that have a value; it is read after the addresses. Raises NoSuchList or
        TooManyFields.
        """
        self._connection.stage_addresses(addresses)
        try:
            return self._finish_staged(import_id, epoch_seconds(now), field_names)
        finally:
            self._connection.unstage_addresses()

    def undo_some(self, import_id: int, now: datetime) -> bool:
        """Remove a batch of the recipients that an import added, except inactive ones and those already sent an email.

        Return False if there are no more.
        """
        return undoing.undo_some(self._connection, self._progress, import_id, epoch_seconds(now))

    def discard(self, import_id: int) -> bool:
        """Delete a file that was not imported. Return False if there is no such file."""
        with self._connection.transaction():
            discarded = self._connection.execute(DELETE_UNUSED, import_id=import_id) == 1
            if discarded:
                self._connection.execute(DELETE_PARTS, import_id=import_id)
        return discarded

    def _compare_staged(self) -> Comparison:
        found: dict[str, int] = dict(self._connection.fetch_all(COMPARE_INCOMING))
        return Comparison(*(found.get(name, 0) for name in Comparison._fields))

    def _finish_staged(self, import_id: int, now: int, field_names: Collection[str]) -> bool:
        count = adding.staged(self._connection)
        found = self._compare_staged()
        with self._connection.transaction():
            sql = f"{LOCK_IMPORTING} {self._connection.for_update}"
            row = self._connection.fetch_one(sql, import_id=import_id)
            if row is None:
                return False
            list_id, options = row
            added_by = f"import {import_id}"
            locked = memberships.lock(self._connection, [] if list_id is None else [list_id], now)
            adding.restore_active_staged(self._connection)
            inserted = adding.insert_staged(self._connection, count, now, added_by, field_names)
            joined = memberships.join(self._connection, count, locked, now, added_by)
            existing = count - inserted.added - found.unsubscribed - found.rejected
            numbers = {**found._asdict(), **inserted._asdict(), "existing": existing}
            numbers["options"] = json.dumps({**json.loads(options or "{}"), "joined": joined._asdict()})
            self._connection.execute(SET_DONE, import_id=import_id, now=now, **numbers)
            self._connection.execute(DELETE_PARTS, import_id=import_id)
        return True


def _import_of(
    import_id: int,
    file_name: str,
    status: str,
    created_at: int,
    finished_at: int | None,
    heartbeat_at: int,
    *others: object,
) -> Import:
    times = moment(created_at), moment_or_none(finished_at), moment(heartbeat_at)
    return Import(import_id, file_name, status, *times, *others)  # type: ignore[arg-type]
