"""Random lists, memberships, departures and kills: everyone in an audience gets one message, and nobody else any.

`bench/audience_model.py` does ten thousand acts.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from database import Database
from settings import Settings, load_settings
from tests.support.audience_model import Run


@pytest.fixture
def settings(where: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings(where, tmp_path)


def test_everyone_in_an_audience_gets_one_message_and_nobody_else_any(database: Database) -> None:
    Run(database, seed=16).steps(250)
