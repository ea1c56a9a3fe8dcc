"""Databases whose version and digest contradict each other."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from database import RESTORE_BACKUP, SchemaMismatch, db_init
from settings import Settings, load_settings
from storage.connection import Connection
from tests.support.old_databases import VERSION_1, connect, content, load

NOW = int(time.time())


@pytest.fixture
def settings(where: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/email.db", **where}, tmp_path)


@pytest.fixture
def connection(settings: Settings) -> Iterator[Connection]:
    """A connection without the schema check, whatever the schema."""
    connection = connect(settings)
    yield connection
    connection.close()


@pytest.mark.parametrize(
    ("load_version", "statement", "reason"),
    [
        (
            True,
            "INSERT INTO meta (name, value) VALUES ('schema_digest', 'x')",
            "is 1, but its schema digest is 'x'",
        ),
        (False, "DELETE FROM meta WHERE name = 'schema_digest'", "is 2, but its schema digest is missing"),
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
    connection.run(statement)
    before = content(connection)
    with pytest.raises(SchemaMismatch, match=re.escape(reason)) as caught:
        db_init(settings, NOW)
    assert caught.value.remedy == RESTORE_BACKUP
    assert content(connection) == before
