"""kill -9 of senders at random moments: what is lost, in doubt and doubled of 20,000 deliveries.

    python bench/sender_crashes.py [KILLS [DELIVERIES [SEED]]]

Four senders overlap on one database; 1,000 times one of them is killed, with IN_DOUBT=resend and then with
IN_DOUBT=hold. After each run the server's list of what it accepted is compared with the database, delivery by
delivery. The bound is one message for each connection of a sender that was killed.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from sender_kill_runner import SenderCrashes


def main() -> int:
    kills, deliveries, seed = (*map(int, sys.argv[1:]), *(1000, 20_000, random.randrange(10**6))[len(sys.argv) - 1 :])
    results = [run(in_doubt, kills, deliveries, seed) for in_doubt in ("resend", "hold")]
    return 0 if all(results) else 1


def run(in_doubt: str, kills: int, deliveries: int, seed: int) -> bool:
    """One run; whether it kept the promise."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        crashes = SenderCrashes(Path(folder), deliveries=deliveries, kills=kills, in_doubt=in_doubt, seed=seed)
        found = crashes.run()
    print(
        f"IN_DOUBT={in_doubt}, seed {seed}: {crashes.kills:,} kills over {deliveries:,} deliveries in "
        f"{time.monotonic() - began:.0f} s; lost {found.lost}; in doubt {found.in_doubt:,} (bound {crashes.bound:,}); "
        f"doubled {found.doubled:,}; {dict(found.statuses)}"
    )
    return found.lost == 0 and found.doubled <= (0 if in_doubt == "hold" else found.in_doubt)


if __name__ == "__main__":
    sys.exit(main())
