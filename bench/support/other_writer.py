"""A client that saves emails continuously while the sender is running, and records how long each took."""

from __future__ import annotations

import itertools
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple, Self

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from database import Database, Email
from support.measured import percentile
from tests.support.installation import Installation

PAUSE = 0.005
FIRST_EVENT_ID = 1000
STARTED = "SELECT 1 FROM progress WHERE event_id = :event_id"


class Write(NamedTuple):
    waited: float  # seconds until it had the write lock
    took: float  # seconds until the write was durable


class OtherWriter:
    """Saves one email after another, due in a year, as a POST does; `writes` by the phase of the email `event_id`.

    The phases are `nothing is sent` and `it is sent`.
    """

    def __init__(self, installation: Installation, event_id: int) -> None:
        self.writes: defaultdict[str, list[Write]] = defaultdict(list)
        self._installation = installation
        self._event_id = event_id
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        with self._installation.database() as database:
            for number in itertools.count(FIRST_EVENT_ID):
                if self._stop.wait(PAUSE):
                    return
                phase = self._phase(database)
                self.writes[phase].append(write(database, number))

    def _phase(self, database: Database) -> str:
        started = database.connection.fetch_one(STARTED, event_id=self._event_id)
        return "it is sent" if started else "nothing is sent"


def write(database: Database, event_id: int) -> Write:
    """Save one email."""
    email = Email(event_id, "Subject", "Content\n", datetime.now(UTC) + timedelta(days=365))
    began = time.perf_counter()
    with database.connection.transaction():
        locked = time.perf_counter()
        database.emails.save(email, datetime.now(UTC))
    return Write(locked - began, time.perf_counter() - began)


def summary(seconds: Sequence[float]) -> str:
    """Return the median, percentiles and maximum in milliseconds."""
    if not seconds:
        return "none"
    figures = (statistics.median(seconds), percentile(seconds, 95), percentile(seconds, 99), max(seconds))
    return " / ".join(f"{figure * 1000:.1f}" for figure in figures)
