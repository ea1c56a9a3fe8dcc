"""The connections that are kept between requests."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

from database import Databases
from tests.support.installation import Installation
from tests.support.service import linux_only

SOON = 10.0  # seconds


@linux_only
def test_a_thread_that_ends_leaves_no_descriptor_open(tmp_path: Path, where: dict[str, str]) -> None:
    databases = Databases(Installation(tmp_path, **where).settings)
    use_in_a_thread(databases)
    before = open_descriptors()
    for _ in range(20):
        use_in_a_thread(databases)
    assert open_descriptors() == before


@linux_only
def test_what_is_kept_is_closed_once_nobody_has_its_place(tmp_path: Path, where: dict[str, str]) -> None:
    settings = Installation(tmp_path, **where).settings
    before = open_descriptors()
    databases = Databases(settings)
    databases.current()
    assert open_descriptors() > before
    del databases
    assert open_descriptors() == before


def use_in_a_thread(databases: Databases) -> None:
    """Use a database in a thread, as a request does."""
    sums: list[object] = []
    thread = threading.Thread(
        target=lambda: sums.append(databases.act(lambda one: one.connection.fetch_one("SELECT 1")))
    )
    thread.start()
    thread.join(SOON)
    assert sums == [(1,)]


def open_descriptors() -> int:
    gc.collect()  # left over from earlier tests
    return len(list(Path("/proc/self/fd").iterdir()))
