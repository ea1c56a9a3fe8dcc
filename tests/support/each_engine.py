"""Fixtures for tests of the data layer that run on each engine. A `conftest.py` imports them for its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from database import Database
from settings import Settings, load_settings
from tests.support.invariants import check_whole


@pytest.fixture
def settings(where: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings(where, tmp_path)


@pytest.fixture(autouse=True)
def whole(database: Database) -> Iterator[None]:
    """Check after each test that its database is whole."""
    yield
    check_whole(database)
