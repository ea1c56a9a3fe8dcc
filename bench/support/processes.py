"""Read information about other processes from /proc."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path


def children(parent: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def words(process_id: int) -> list[str]:
    """Return the command line, or nothing for a process that is gone."""
    with suppress(OSError):
        return Path(f"/proc/{process_id}/cmdline").read_bytes().decode().split("\0")
    return []


def started(process_id: int) -> int:
    """Return when a process started, in clock ticks since boot. One that is gone counts as the youngest."""
    with suppress(OSError):
        return int(Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()[19])
    return sys.maxsize
