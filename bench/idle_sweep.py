"""The cost of a sweep that finds nothing due. Measures whole processes, in alternation.

    python bench/idle_sweep.py [ROUNDS]

Compares a database with 1,000,000 emails scheduled for later with an empty one, and both with Python's own
`import sqlite3`. The installations have a `.env`, as real ones do.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.support.installation import Installation
from tests.support.project_copy import copy_project

SCHEDULED = 1_000_000
LATER = 2_000_000_000


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 21
    with tempfile.TemporaryDirectory() as folder:
        copies = {name: installation(Path(folder) / name) for name in ("empty", "full")}
        fill(copies["full"])
        commands = {
            "import sqlite3": ([sys.executable, "-c", "import sqlite3"], copies["empty"]),
            "empty": ([sys.executable, "task.py"], copies["empty"]),
            "full": ([sys.executable, "task.py"], copies["full"]),
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(rounds):
            for name, (command, copy) in commands.items():
                times[name].append(seconds(command, copy))
    print_table(times)


def installation(folder: Path) -> Installation:
    """A copy of the program with its database, and a `.env` that only its owner can read."""
    copied = Installation(copy_project(folder))
    env = folder / ".env"
    env.write_text("MAIL_FROM=Club <club@example.com>\nSMTP_CONNECTIONS=8\n")
    env.chmod(0o600)
    return copied


FILL = """
WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :count)
INSERT INTO emails (event_id, due_at, created_at, token, subject, content)
SELECT n, :later + n, 0, 'token', 'Subject', 'Content' FROM numbers
"""


def fill(full: Installation) -> None:
    """Schedule the emails, each in its own second."""
    with full.database() as database, database.connection.transaction():
        database.connection.execute(FILL, later=LATER, count=SCHEDULED)


def seconds(command: list[str], copy: Installation) -> float:
    began = time.perf_counter()
    subprocess.run(command, cwd=copy.folder, env=copy.environment, check=True)
    return time.perf_counter() - began


def print_table(times: dict[str, list[float]]) -> None:
    for name, measured in times.items():
        print(f"{name:16} median {statistics.median(measured) * 1000:7.1f} ms")
    for name, base in (("full", "empty"), ("full", "import sqlite3")):
        ratios = [one / other for one, other in zip(times[name], times[base], strict=True)]
        print(f"{name} / {base}: median of {len(ratios)} paired ratios {statistics.median(ratios):.3f}")


if __name__ == "__main__":
    main()
