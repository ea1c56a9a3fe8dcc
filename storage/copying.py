"""Copy a whole database into another one, on either engine: all or nothing, with every table compared afterwards."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from storage.connection import Connection, Row
from storage.errors import DBError

# Each table with its columns. Tables that describe machines (`senders` and those after it) are not copied.
TABLES = {
    "meta": ("name", "value"),
    "counters": ("name", "value"),
    "emails": (
        *("event_id", "due_at", "created_at", "finished_at", "status", "held_because", "logged", "token"),
        *("content_digest", "audience", "recipients_max", "personal", "reply_to", "from_name", "subject", "content"),
    ),
    "progress": (
        *("event_id", "started_at", "last_recipient_id", "recipients", "cursor_id", "audience", "joined_until"),
        *("deliveries", "sent", "failed", "unknown", "cancelled", "first_sent_at", "last_sent_at"),
    ),
    "recipients": (
        *("recipient_id", "address", "address_key", "status", "created_at", "removed_at", "bounced_event_id"),
        *("listed", "added_by", "fields"),
    ),
    "lists": ("list_id", "name", "name_key", "created_at", "archived_at", "deleted_at", "members", "last_joined_at"),
    "memberships": ("list_id", "recipient_id", "joined_at", "left_at", "added_by"),
    "audiences": ("event_id", "list_id", "excluded"),
    "named_recipients": ("event_id", "recipient_id", "address"),
    "field_names": ("name",),
    "search_chunks": ("chunk", "state"),
    "search_postings": ("chunk", "bigram", "recipients"),
    "templates": ("template_id", "name", "name_key", "created_at", "fields"),
    "removals": ("removal_id", "removed_at", "content"),
    "drafts": ("draft_id", "version", "created_at", "updated_at", "title", "fields"),
    "imports": (
        *("import_id", "file_name", "status", "created_at", "finished_at", "heartbeat_at", "error", "size", "position"),
        *("valid", "invalid", "skipped", "duplicates", "added", "existing", "unsubscribed", "rejected"),
        *("after_id", "last_id", "removed", "kept", "list_id", "options", "preview", "invalid_lines"),
    ),
    "import_parts": ("import_id", "part", "content"),
    "deliveries": (
        *(
            "event_id",
            "recipient_id",
            "status",
            "claimed_by",
            "queued_at",
            "next_attempt_at",
            "attempts",
            "attempts_in_doubt",
        ),
        *("finished_at", "address", "reply"),
    ),
    "attempts": ("event_id", "recipient_id", "attempted_at", "outcome", "reply"),
    "hourly_stats": (
        *("hour", "sent", "deferred", "failed", "in_doubt", "late_1", "late_5", "late_15", "late_60", "late_300"),
        *("late_900", "late_3600", "late_over_3600", "lateness_seconds"),
    ),
    "deferrals": ("code", "total"),
    "ended_sessions": ("session_id", "ends_at"),
}
FILLED_BY_DB_INIT = ("meta", "counters")


class CopyRefused(DBError):
    """The copy was not made. Nothing was changed."""


def copy(source: Connection, target: Connection) -> dict[str, int]:
    """Copy all of `source` into `target`, whose tables must exist and be empty. Return the number of rows by table.

    Raises CopyRefused. A SQLite `source` is locked for writing meanwhile.
    """
    with source.transaction(), target.transaction():
        _check_no_senders(source)
        _check_empty(target)
        for table in FILLED_BY_DB_INIT:
            target.execute(f"DELETE FROM {table}")  # noqa: S608 - a name of our own
        rows = {table: _copy_table(source, target, table) for table in TABLES}
    target.analyze()
    return rows


def _copy_table(source: Connection, target: Connection, table: str) -> int:
    sent, arrived = _Digest(), _Digest()
    target.load(table, TABLES[table], sent.of(_rows(source, table)))
    for _ in arrived.of(_rows(target, table)):
        pass
    if sent != arrived:
        raise CopyRefused(f"verification failed for the table {table}; nothing was changed")
    return sent.count


def _rows(connection: Connection, table: str) -> Iterator[Row]:
    return connection.stream(f"SELECT {', '.join(TABLES[table])} FROM {table}")  # noqa: S608 - names of our own


def _check_no_senders(source: Connection) -> None:
    if source.fetch_one("SELECT 1 FROM senders") is not None:
        reason = "a sender is running on the source database, or crashed"
        raise CopyRefused(f"{reason}: stop the service, then run task.py once")


def _check_empty(target: Connection) -> None:
    for table in TABLES:
        if table not in FILLED_BY_DB_INIT and target.fetch_one(f"SELECT 1 FROM {table} LIMIT 1") is not None:  # noqa: S608
            raise CopyRefused(f"the target database is not empty (it has rows in {table})")


class _Digest:
    """The number of rows and the sum of their hashes, which are equal for equal rows in any order."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0

    def of(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows unchanged, and add them to the digest."""
        for row in rows:
            self.count += 1
            digest = hashlib.blake2b(repr(tuple(row)).encode("utf-8", "surrogatepass"), digest_size=16).digest()
            self._sum += int.from_bytes(digest, "big")
            yield row

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Digest) and (self.count, self._sum) == (other.count, other._sum)

    __hash__ = None  # type: ignore[assignment] # it is mutable
