"""Fixtures of the storage tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from settings import Settings
from storage.connection import Connection
from tests.support.samples.old_databases import connect


@pytest.fixture
def connection(settings: Settings) -> Iterator[Connection]:
    """A connection without the schema check, whatever the schema."""
    connection = connect(settings)
    yield connection
    connection.close()
