"""Random lists, memberships, departures, claims and kills against a model in plain Python, for as long as you like.

    python bench/audience_model.py [--seeds 20] [--first 1] [--steps 10000] [--engine sqlite|postgresql]

Each seed is one history on a new database (tests/support/audience_model.py). The first violation ends the program with
the seed that repeats it.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from database import db_init, open_database
from settings import load_settings
from tests.support.audience_model import Run
from tests.support.ports import unused_port
from tests.support.servers.postgresql_server import PostgreSQLServer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--engine", choices=["sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    with databases(options.engine) as new_database:
        for seed in range(options.first, options.first + options.seeds):
            began = time.monotonic()
            run(seed, options.steps, next(new_database))
            print(f"seed {seed}: {options.steps:,} steps in {time.monotonic() - began:.0f} s, no violation", flush=True)


def run(seed: int, steps: int, environment: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(environment, Path(folder))
        db_init(settings, datetime.now(UTC))
        with open_database(settings) as database:
            try:
                Run(database, seed).steps(steps)
            except BaseException as error:
                error.add_note(f"seed {seed}")
                raise


@contextmanager
def databases(engine: str) -> Iterator[Iterator[dict[str, str]]]:
    """Context manager: yields an iterator over the settings of new databases."""
    if engine == "sqlite":
        yield iter(dict, None)
        return
    with tempfile.TemporaryDirectory() as folder:
        server = PostgreSQLServer(Path(folder), unused_port())
        server.start()
        try:
            yield ({"DATABASE_URL": url} for url in iter(server.new_database, ""))
        finally:
            server.stop()


if __name__ == "__main__":
    main()
