"""Create the schema, and upgrade it from any earlier version.

A new database is created from `schema.sql`. An older one is upgraded with the SQL in `storage/migrations/`, whose
README says how to write migrations. On both engines, this takes one transaction, which changes everything or nothing.
If two processes start at the same time, they take turns, and the second one finds nothing to do.

Before an upgrade changes anything, it checks that

1. the database is what it claims to be. From version 2 on, the digest proves it. Databases of version 1 have no digest,
   and many development schemas also claim version 1, so their tables are compared with the baseline;
2. no sender is running, because it would continue with statements written for the old tables. A sender that has died
   does not block the upgrade; the next sweep takes over its claims;
3. the check for lost commits has been made, because the first write after a boot removes the traces of them from
   SQLite's log.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from storage.connection import Connection
from storage.errors import (
    AlteredSchema,
    DamagedSchema,
    DatabaseMissing,
    SchemaMismatch,
    SendersRunning,
    StatementFailed,
    UnknownSchema,
    UpgradeFailed,
)
from storage.schema import structure
from storage.schema.guard import SELECT_VERSION_AND_DIGEST, check_wal, check_wal_after_boot, parsed, wal_needs_check
from storage.schema.version import DIGEST, DIGESTS, VERSION
from storage.senders import leases

SCHEMA = Path(__file__).resolve().parents[2] / "schema.sql"
MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
BASELINE = 1  # the first version, which records no digest
UP_TO_DATE = "up to date"

SET_META = """
INSERT INTO meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


def create_or_upgrade(connection: Connection, now: int) -> str:
    """Create the schema, or upgrade it to this program's version, in one transaction. Safe to repeat.

    Return what was done, or UP_TO_DATE. Nothing is changed if this raises SchemaMismatch (UnknownSchema is one),
    SendersRunning or UpgradeFailed.
    """
    with connection.transaction():
        done = _created_or_upgraded(connection, now)
    check_wal_after_boot(connection, now)
    return done


def _created_or_upgraded(connection: Connection, now: int) -> str:
    if not connection.has_tables():
        _create(connection, now)
        return f"created the tables (schema version {VERSION})"
    version, digest = parsed(connection.fetch_one(SELECT_VERSION_AND_DIGEST))
    if version <= VERSION and (digest is None) != (version <= BASELINE):
        kept = "is missing" if digest is None else f"is {digest!r}"
        raise DamagedSchema(VERSION, f"its schema version is {version}, but its schema digest {kept}")
    if version > VERSION or (version > BASELINE and digest != DIGESTS[version]):
        raise SchemaMismatch(version, VERSION)
    if version == VERSION:
        return UP_TO_DATE
    connection.lock_for_upgrade()
    _require_baseline(connection, version)
    _require_no_sender(connection)
    if wal_needs_check(connection):
        check_wal(connection, now)
    migrate(connection, range(version + 1, VERSION + 1))
    _record_version(connection)
    return f"upgraded from schema version {version} to {VERSION}"


def _create(connection: Connection, now: int) -> None:
    connection.executescript(SCHEMA.read_text(encoding="utf-8"))
    connection.set_storage_parameters()
    meta = {"secret_key": os.urandom(32).hex(), "installation": os.urandom(8).hex()}
    ids = ("recipient_id", "import_id", "list_id", "draft_id", "template_id", "removal_id", "sender_id")
    names = (*ids, "sweeps", "sweep_milliseconds")
    counters = {**dict.fromkeys(names, 0), "last_sweep_at": now}
    _record_version(connection)
    for name, value in meta.items():
        connection.execute(SET_META, name=name, value=value)
    for counter, count in counters.items():
        connection.execute("INSERT INTO counters (name, value) VALUES (:name, :value)", name=counter, value=count)


def migrate(connection: Connection, versions: range, folder: Path = MIGRATIONS) -> None:
    """Run the migrations to these versions, in order, in the open transaction. Raises UpgradeFailed."""
    for number in versions:
        try:
            connection.executescript(script(number, connection.engine, folder))
        except (StatementFailed, DatabaseMissing) as error:
            raise UpgradeFailed(number, error.reason) from error


def script(number: int, engine: str, folder: Path = MIGRATIONS) -> str:
    """Return the SQL of one migration: the common file, then the file for this engine."""
    files = list(_files(number, engine, folder))
    if not files:
        raise FileNotFoundError(f"there is no migration {number:04} for {engine} in {folder}")
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def _files(number: int, engine: str, folder: Path) -> Iterator[Path]:
    files = sorted(folder.glob(f"{number:04}_*.sql"))
    yield from (file for file in files if file.suffixes == [".sql"])
    yield from (file for file in files if file.suffixes == [f".{engine}", ".sql"])


def _require_baseline(connection: Connection, version: int) -> None:
    """Raise UnknownSchema if a database without a digest does not have exactly the tables of version 1.

    Raise AlteredSchema if only additions and indexes differ, which an operator can undo.
    """
    if version > BASELINE:
        return
    expected = connection.structure_of(script(BASELINE, connection.engine))
    found = connection.structure()
    differences = structure.differences(expected, found)
    if version == BASELINE and differences and structure.has_all_but_indexes(expected, found):
        raise AlteredSchema(version, VERSION, differences, f"storage/migrations/{BASELINE:04}_baseline.sql")
    if version < BASELINE or differences:
        raise UnknownSchema(version, VERSION, differences)


def _require_no_sender(connection: Connection) -> None:
    running = leases.running(connection)
    if running:
        raise SendersRunning(running)


def _record_version(connection: Connection) -> None:
    for name, value in {"schema_version": str(VERSION), "schema_digest": DIGEST}.items():
        connection.execute(SET_META, name=name, value=value)
