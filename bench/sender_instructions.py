"""How many machine instructions the sender executes to start, and per message. Unlike times, these are reproducible.

    python bench/sender_instructions.py [--against CHECKOUT | --fields]

Runs `task.py` under Valgrind with 2,000 and with 6,000 messages, so that the difference is due to the messages alone.
Needs Debian's packages valgrind and postfix.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from contenders.ours import Ours
from support.measured import PROJECT, smtp_sink

FEW, MANY = 2_000, 6_000  # messages
CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", type=Path, help="a checkout of another commit, to compare with")
    parser.add_argument("--fields", action="store_true", help="HTML with three personal fields, and without")
    options = parser.parse_args()
    if options.fields:
        for content in ("html", "fields"):
            measure(Ours(100, content=content), PROJECT)
        return
    for checkout in filter(None, (options.against and options.against.resolve(), PROJECT)):
        for connections in (32, 100):
            measure(Ours(connections, checkout=checkout), checkout)


def measure(sender: Ours, checkout: Path) -> None:
    """Print the number of instructions for each message, and for everything else."""
    few, many = (instructions(sender, messages, checkout) for messages in (FEW, MANY))
    each = (many - few) / (MANY - FEW)
    start = few - FEW * each
    print(f"{sender.name:40} {each / 1e3:7.1f} thousand a message, {start / 1e6:5.0f} million for the rest")


def instructions(sender: Ours, messages: int, checkout: Path) -> int:
    """Return how many instructions `task.py` executes to send so many messages."""
    with tempfile.TemporaryDirectory() as folder, smtp_sink() as sink:
        sender.prepare(Path(folder), messages)
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", **sender.environment(Path(folder), sink.port)}
        command = [*CALLGRIND, *sender.command(Path(folder), sink.port, messages)]
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=True)
        sender.check(Path(folder), messages)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found is not None, done.stderr
    return int(found[1])


if __name__ == "__main__":
    main()
