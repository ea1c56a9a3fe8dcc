"""Databases of version 1 that an operator changed, and databases whose version and digest contradict each other."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from database import RESTORE_BACKUP, SchemaMismatch, db_init
from settings import Settings, load_settings
from storage.connection import Connection
from storage.errors import AlteredSchema
from storage.schema.version import VERSION
from tests.support.samples.old_databases import VERSION_1, connect, content, load
from tests.support.servers.postgresql_server import PostgreSQLServer

NOW = datetime.now(UTC).replace(microsecond=0)
CREATE_INDEX = "create the indexes as in storage/migrations/0001_baseline.sql"
OPERATORS = {  # an operator's addition, and how to remove it
    ("sqlite", "a trigger"): "CREATE TRIGGER mine AFTER DELETE ON emails BEGIN SELECT 1;END",
    ("sqlite", "no trigger"): "DROP TRIGGER mine",
    ("postgresql", "a trigger"): "CREATE TRIGGER mine BEFORE UPDATE ON emails FOR EACH ROW "
    "EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    ("postgresql", "no trigger"): "DROP TRIGGER mine ON emails",
}


@pytest.fixture
def settings(where_empty: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/email.db", **where_empty}, tmp_path)


@pytest.mark.parametrize(
    ("change", "difference", "undo"),
    [
        (
            "ALTER TABLE emails ADD COLUMN priority BIGINT",
            "column emails.priority is not expected",
            "ALTER TABLE emails DROP COLUMN priority",
        ),
        (
            "DROP INDEX deliveries_in_line",
            "index deliveries_in_line is missing",
            "CREATE INDEX deliveries_in_line ON deliveries (event_id, recipient_id) "
            "WHERE claimed_by IS NULL AND finished_at IS NULL",
        ),
        (
            "DROP INDEX emails_sending; CREATE INDEX emails_sending ON emails (due_at)",
            "index emails_sending is different",
            "DROP INDEX emails_sending; CREATE INDEX emails_sending ON emails (event_id) WHERE status = 'sending'",
        ),
        ("a trigger", "trigger emails.mine is not expected", "no trigger"),
    ],
)
def test_what_an_operator_changed_can_be_undone(
    settings: Settings, connection: Connection, change: str, difference: str, undo: str
) -> None:
    load(settings, VERSION_1)
    for statement in OPERATORS.get((connection.engine, change), change).split("; "):
        connection.execute(statement)
    before = content(connection), connection.structure()
    with pytest.raises(AlteredSchema) as caught:
        db_init(settings, NOW)
    assert difference in caught.value.reason and "unreleased" not in str(caught.value)
    step = CREATE_INDEX if difference.startswith("index") else "drop what is not expected"
    assert caught.value.remedy == f"{step}, then run: flask init-db"
    assert (content(connection), connection.structure()) == before
    for statement in OPERATORS.get((connection.engine, undo), undo).split("; "):
        connection.execute(statement)
    assert db_init(settings, NOW).startswith("upgraded")


def test_on_postgresql_a_constraint_that_was_added_can_be_dropped(postgresql: PostgreSQLServer, tmp_path: Path) -> None:
    settings = load_settings({"DATABASE_URL": postgresql.new_database()}, tmp_path)
    load(settings, VERSION_1)
    with closing(connect(settings)) as connection:
        connection.execute("ALTER TABLE emails ADD CONSTRAINT mine CHECK (subject > '')")
        connection.execute("DROP INDEX emails_sending")
        with pytest.raises(AlteredSchema, match=r"constraint emails\.mine is not expected") as caught:
            db_init(settings, NOW)
        assert caught.value.remedy.startswith(f"drop what is not expected and {CREATE_INDEX}, then run")
        connection.execute("CREATE INDEX emails_sending ON emails (event_id) WHERE status = 'sending'")
        connection.execute("ALTER TABLE emails DROP CONSTRAINT mine")
    assert db_init(settings, NOW).startswith("upgraded")


@pytest.mark.parametrize(
    ("load_version", "statement", "reason"),
    [
        (
            True,
            "INSERT INTO meta (name, value) VALUES ('schema_digest', 'x')",
            "is 1, but its schema digest is 'x'",
        ),
        (False, "DELETE FROM meta WHERE name = 'schema_digest'", f"is {VERSION}, but its schema digest is missing"),
        (False, "UPDATE meta SET value = '1' WHERE name = 'schema_version'", "is 1, but its schema digest is '"),
    ],
)
def test_a_version_and_a_digest_that_contradict_each_other_are_damage(
    settings: Settings, connection: Connection, load_version: bool, statement: str, reason: str
) -> None:
    if load_version:
        load(settings, VERSION_1)
    else:
        db_init(settings, NOW)
    connection.execute(statement)
    before = content(connection)
    with pytest.raises(SchemaMismatch, match=re.escape(reason)) as caught:
        db_init(settings, NOW)
    assert caught.value.remedy == RESTORE_BACKUP
    assert content(connection) == before
