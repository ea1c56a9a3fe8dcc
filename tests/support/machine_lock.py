"""Locks between all tests on this machine, whichever run they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import IO

FOLDER = Path("/tmp")  # whatever TMPDIR says: runs with different ones share the ports and the crontab


def open_lock(name: str) -> IO[str]:
    """Open the file to lock for what this user's tests on this machine share under this name."""
    return (FOLDER / f"email-endpoint-{name}.lock").open("w")
