"""Locks shared by all tests on this machine, across test runs."""

from __future__ import annotations

from pathlib import Path
from typing import IO

FOLDER = Path("/tmp")  # not TMPDIR: runs with different values share the ports and the crontab


def open_lock(name: str) -> IO[str]:
    """Open the lock file for the resource of this name. The caller locks it."""
    return (FOLDER / f"email-endpoint-{name}.lock").open("w")
