"""The cost of `flask recipients import`: time, peak memory, and how long other writers wait.

    python bench/import_recipients.py [ROWS]

The default of 1,000,000 rows must take less than a minute, and the same memory as 1,000 rows. The rows are in
random order, which is the hardest for the index. The same file is then imported again, when all rows exist. Next, other
rows with five personal fields are imported into a list, and then again with one value changed in every tenth row.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from database import db_init, open_database
from settings import FOLDER, Settings, load_settings

DOMAINS = 500
PRIME = 982_451_653  # shuffles the numbers, without repeating any


class Cost(NamedTuple):
    seconds: float
    peak_megabytes: int
    longest_wait: float


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = load_settings({}, folder)
        db_init(settings, datetime.now(UTC))
        show("1,000 rows", cost(settings, csv_file(folder / "few.csv", 1000, "few")))
        path = csv_file(folder / "many.csv", rows, "person")
        show(f"{rows:,} rows", cost(settings, path))
        show("the same again", cost(settings, path))
        into_list = ("--fields", "--list", "Gala")
        with open_database(settings) as database:
            database.lists.add("Gala", datetime.now(UTC))
        show("with 5 fields", cost(settings, csv_file(path, rows, "guest", fields=True), *into_list))
        show("some changed", cost(settings, csv_file(path, rows, "guest", fields=True, changed=10), *into_list))


def csv_file(path: Path, rows: int, word: str, *, fields: bool = False, changed: int = 0) -> Path:
    """Write a file. With `changed`, one row in that many has a different city."""
    numbers = (number * PRIME % rows for number in range(rows))  # no list: the import's peak begins with ours
    with path.open("w", encoding="utf-8") as file:
        file.write("recipient_email" + (",First name,Last name,Company,City,Seat" if fields else "") + "\n")
        for number in numbers:
            file.write(f"{word}{number}@domain{number % DOMAINS}.example.com")
            if fields:
                city = "Bonn" if changed and number % changed == 0 else "Singapore"
                file.write(f",Ada {number},Lovelace-Müller,Company {number % 1000},{city},Row {number % 100}")
            file.write("\n")
    return path


def cost(settings: Settings, path: Path, *options: str) -> Cost:
    environ = {**os.environ, "DATABASE_URL": f"sqlite:///{settings.database_path}"}
    command = [sys.executable, "-m", "flask", "recipients", "import", *options, str(path)]
    with OtherWriter(settings) as other:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=FOLDER, env=environ)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"the import ended with {process.returncode}")
    return Cost(seconds, usage.ru_maxrss // 1024, other.longest_wait)


class OtherWriter:
    """Writes continuously, as the API would, and records the longest wait."""

    def __init__(self, settings: Settings) -> None:
        self.longest_wait = 0.0
        self._settings = settings
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def _write(self) -> None:
        with open_database(self._settings, wait=600) as database:
            while not self._stop.wait(0.02):
                began = time.monotonic()
                database.record_heartbeat(int(time.time()))
                self.longest_wait = max(self.longest_wait, time.monotonic() - began)

    def __enter__(self) -> OtherWriter:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def show(what: str, cost: Cost) -> None:
    print(
        f"{what:>16}: {cost.seconds:6.1f} s, peak {cost.peak_megabytes} MB, "
        f"another writer waited {cost.longest_wait:.1f} s at most"
    )


if __name__ == "__main__":
    main()
