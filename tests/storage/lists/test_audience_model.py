"""Random lists, memberships, departures and kills: everyone in an audience gets one message, and nobody else any.

`bench/audience_model.py` does ten thousand acts.
"""

from __future__ import annotations

from database import Database
from tests.support.audience_model import Run


def test_everyone_in_an_audience_gets_one_message_and_nobody_else_any(database: Database) -> None:
    Run(database, seed=16).steps(250)
