"""A short, seeded version of `bench/crashes.py`."""

from __future__ import annotations

import os
import random
from pathlib import Path

from tests.support.faults.service_killer import Crashes


def test_kills_of_sender_and_server_lose_nothing_and_double_at_most_one_message_each(
    tmp_path: Path, free_port: int
) -> None:
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    print(f"SEED={seed}")
    result = Crashes(tmp_path, free_port, seed).run(kills=8)
    assert result.successful
    assert result.lost == []
    assert result.invented == []
    assert result.doubled <= result.kills["sender"]  # it has one connection
