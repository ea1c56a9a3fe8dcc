"""Random lists, memberships, departures and kills: everyone in an audience gets one message, and no one else gets any.

`bench/audience_model.py` runs ten thousand steps.
"""

from __future__ import annotations

from database import Database
from tests.support.audience_model import Run


def test_everyone_in_an_audience_gets_one_message_and_nobody_else_any(database: Database) -> None:
    Run(database, seed=16).steps(250)
