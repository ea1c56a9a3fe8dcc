"""Print how many single-row commits per second this disk allows: raw_commits.py DATABASE SECONDS.

No HTTP and no checks: one INSERT and one durable commit each, into the same table, with the same driver.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from storage.emails import INSERT_EMAIL
from storage.sqlite.connection import driver  # type: ignore[attr-defined]

CONTENT = ("lorem ipsum " * 5 + "dolor\n") * 14


def main() -> None:
    path, seconds = sys.argv[1], float(sys.argv[2])
    connection = driver.connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    values = (4_070_912_645, 1, "0" * 24, "Subject", CONTENT, "everyone", None, 0, None, None)
    (first,) = connection.execute("SELECT COALESCE(MAX(event_id), 0) + 1 FROM emails").fetchone()
    event_id = first
    began = time.perf_counter()
    while time.perf_counter() < began + seconds:
        connection.execute(INSERT_EMAIL, (event_id, *values))
        event_id += 1
    print((event_id - first) / (time.perf_counter() - began))


if __name__ == "__main__":
    main()
