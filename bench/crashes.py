"""kill -9 of the sender and of the server at random moments, while a client POSTs emails that are due at once.

    python bench/crashes.py [KILLS [CONNECTIONS [SEED]]]

Every email that was answered `Successful` must be delivered to each recipient, and each kill may cause at most
one duplicate per connection of the sender.
"""

from __future__ import annotations

import random
import socket
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.support.faults.service_killer import RECIPIENTS, Crashes


def main() -> int:
    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    connections = int(sys.argv[2]) if len(sys.argv) > 2 else 1
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.randrange(10**6)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        result = Crashes(Path(folder), free_port(), seed, connections).run(kills)
    print(
        f"seed {seed}: {dict(result.kills)} kills in {time.monotonic() - began:.0f} s; {len(result.successful):,} "
        f"emails answered Successful x {RECIPIENTS} recipients; lost {len(result.lost)}; "
        f"doubled {result.doubled} (connections: {connections}); sent without a POST {len(result.invented)}"
    )
    kept = not result.lost and not result.invented and result.doubled <= result.kills["sender"] * connections
    return 0 if kept else 1


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main())
