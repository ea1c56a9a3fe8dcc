"""Add staged addresses to the recipients: new rows, personal fields, and `listed` for those who were only named so far.

All of it happens in the caller's transaction. The addresses were staged before (`Connection.stage_addresses`), so that
nothing is locked while a file is read.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from storage import sequences
from storage.connection import Connection
from storage.errors import TooManyFields

BATCH_SIZE = 1_000  # recipients changed by one statement; SQLite keeps in memory what it needs to undo a statement
MAX_FIELDS = 32  # personal fields of a recipient
UNKNOWN = "program"  # who adds members, if that is not said

SELECT_LAST_POSITION = "SELECT MAX(position) FROM incoming"
INSERT_INCOMING = """
INSERT INTO recipients (recipient_id, address, address_key, created_at, added_by, fields)
SELECT :after_id + i.position, i.address, i.address_key, :now, CAST(:added_by AS TEXT), NULLIF(i.fields, '')
FROM incoming i
WHERE i.position > :after AND i.position <= :after + :size ORDER BY i.position
ON CONFLICT (address_key) DO NOTHING
"""
# Rows that would not change are not written again.
MERGE_FIELDS = """
UPDATE recipients SET fields = {merged} FROM incoming i
WHERE i.position > :after AND i.position <= :after + :size AND i.fields <> ''
    AND recipients.address_key = i.address_key AND recipients.removed_at IS NULL
    AND COALESCE(recipients.fields, '') <> {merged}
"""
# The status stays: adding an unsubscribed recipient again does not resubscribe them.
# Those whom an email has named are listed from now on.
RESTORE = """
UPDATE recipients SET removed_at = NULL, listed = 1
WHERE (removed_at IS NOT NULL OR listed = 0) AND address_key IN (SELECT address_key FROM incoming)
"""
# Most installations have only a few others, or none, and then RESTORE_ACTIVE would be most of the work.
ANY_OTHERS = "SELECT 1 FROM status_counts WHERE entity = 'recipients' AND status <> 'active' AND total <> 0 LIMIT 1"
# For imports: those who were removed after unsubscribing stay removed.
RESTORE_ACTIVE = """
UPDATE recipients SET removed_at = NULL, listed = 1
WHERE (removed_at IS NOT NULL AND status = 'active' OR listed = 0) AND address_key IN (SELECT address_key FROM incoming)
"""
INSERT_FIELD_NAME = "INSERT INTO field_names (name) VALUES (:name) ON CONFLICT (name) DO NOTHING"
COUNT_FIELD_NAMES = "SELECT COUNT(*) FROM field_names"
SELECT_WITH_TOO_MANY_FIELDS = """
SELECT r.address FROM incoming i JOIN recipients r ON r.address_key = i.address_key
WHERE i.fields <> '' AND {size} > :limit LIMIT 1
"""


class Inserted(NamedTuple):
    """How many of the staged addresses were new. Their recipient_ids are > after_id and <= last_id."""

    added: int
    after_id: int
    last_id: int


def staged(connection: Connection) -> int:
    """Return the number of staged addresses."""
    row = connection.fetch_one(SELECT_LAST_POSITION)
    return row[0] if row and row[0] else 0


def restore_and_insert_staged(
    connection: Connection, count: int, now: int, added_by: str | None = None, field_names: Collection[str] = ()
) -> int:
    """Add those of the `count` staged addresses that are new, were removed, or had only been named by an email.

    Return how many. See `insert_staged`.
    """
    return connection.execute(RESTORE) + insert_staged(connection, count, now, added_by, field_names).added


def restore_active_staged(connection: Connection) -> None:
    """Restore the staged recipients who were removed, if they are active, or received only emails that named them."""
    if connection.fetch_one(ANY_OTHERS):
        connection.execute(RESTORE_ACTIVE)


def insert_staged(
    connection: Connection, count: int, now: int, added_by: str | None, field_names: Collection[str] = ()
) -> Inserted:
    """Add those of the `count` staged addresses that are new, and save the personal fields of all of them.

    `field_names` are the names of the fields that have a value. New values replace old ones of the same name. Raises
    TooManyFields.
    """
    after_id = sequences.reserve(connection, "recipient_id", count) - 1
    if field_names:
        _merge_fields(connection, count)
    values = {"after_id": after_id, "now": now, "added_by": added_by, "size": BATCH_SIZE}
    added = sum(connection.execute(INSERT_INCOMING, after=after, **values) for after in range(0, count, BATCH_SIZE))
    if field_names:
        _record_names(connection, field_names)
    return Inserted(added, after_id, after_id + count)


def _merge_fields(connection: Connection, count: int) -> None:
    merged = connection.merged_json.format(old="COALESCE(recipients.fields, '{}')", new="i.fields")
    sql = MERGE_FIELDS.format(merged=merged)
    for after in range(0, count, BATCH_SIZE):
        connection.execute(sql, after=after, size=BATCH_SIZE)


def _record_names(connection: Connection, names: Collection[str]) -> None:
    """Record the names. Recipients can have too many fields only if there are more names than that."""
    for name in sorted(names):
        connection.execute(INSERT_FIELD_NAME, name=name)
    row = connection.fetch_one(COUNT_FIELD_NAMES)
    if row is not None and row[0] > MAX_FIELDS:
        sql = SELECT_WITH_TOO_MANY_FIELDS.format(size=connection.json_size.format(json="r.fields"))
        found = connection.fetch_one(sql, limit=MAX_FIELDS)
        if found is not None:
            raise TooManyFields(found[0], MAX_FIELDS)
