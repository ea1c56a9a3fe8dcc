"""Stage and sort the addresses of an import in a second database file, so that the real one stays unlocked.

A temporary table would not limit memory use: some builds of SQLite, such as pysqlite3's, always keep them in memory.
"""

from __future__ import annotations

import os
from pathlib import Path

ATTACH = "ATTACH :file AS staging"
DETACH = "DETACH staging"
# No journal and no syncs, because anything lost here can be read again.
CREATE_TABLES = (
    "PRAGMA staging.journal_mode=OFF",
    "PRAGMA staging.synchronous=OFF",
    """CREATE TABLE staging.unsorted (address_key TEXT PRIMARY KEY, address TEXT NOT NULL, fields TEXT NOT NULL,
       lists TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE staging.incoming (position INTEGER PRIMARY KEY, address TEXT NOT NULL,
       address_key TEXT NOT NULL UNIQUE, fields TEXT NOT NULL)""",
    """CREATE TABLE staging.joining
       (list_id INTEGER, address_key TEXT, PRIMARY KEY (list_id, address_key)) WITHOUT ROWID""",
)
# If an address is repeated, its first spelling counts, the last value of each field, and all of its lists.
INSERT_UNSORTED = """
INSERT INTO staging.unsorted (address, address_key, fields, lists) VALUES (?, ?, ?, ?)
ON CONFLICT (address_key) DO UPDATE SET
    fields = CASE WHEN fields = '' THEN excluded.fields WHEN excluded.fields = '' THEN fields
        ELSE json_patch(fields, excluded.fields) END,
    lists = CASE WHEN lists = '' THEN excluded.lists WHEN excluded.lists = '' THEN lists
        ELSE rtrim(lists, ']') || ',' || ltrim(excluded.lists, '[') END
WHERE excluded.fields <> '' OR excluded.lists <> ''
"""
# Sorted by key, so that rows are later appended to each index. Unsorted, inserting a million rows would hold the write
# lock ten times as long.
FILL_INCOMING = """
INSERT INTO staging.incoming (address, address_key, fields)
SELECT address, address_key, fields FROM staging.unsorted ORDER BY address_key
"""
FILL_JOINING = """
INSERT OR IGNORE INTO staging.joining (list_id, address_key)
SELECT each.value, address_key FROM staging.unsorted, json_each(unsorted.lists) AS each WHERE lists <> ''
"""


class StagingFile:
    """The staging file while it is attached. Where the system allows it, its name is removed at once."""

    def __init__(self, database: Path) -> None:
        self.path = database.with_name(f".{database.name}-staging-{os.urandom(8).hex()}")
        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def attached(self) -> None:
        """Remove the name of the open file, so that a crash leaves nothing behind."""
        if os.name == "posix":
            self.remove()

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
