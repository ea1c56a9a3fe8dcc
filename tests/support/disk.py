"""Fill a file system."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def fill(disk: Path) -> Path:
    """Fill the file system until nothing more fits; return the file that takes up the space."""
    filler = disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while file.write(b"x" * 4096):
            pass
    return filler
