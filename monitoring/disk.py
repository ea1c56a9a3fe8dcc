"""Check the free space on the disks that the service writes to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from monitoring.finding import Finding, error, ok, warning
from settings import Settings

MB, GB = 1000**2, 1000**3
WARNING_BYTES, ERROR_BYTES = 1000 * MB, 100 * MB


def check_disk(settings: Settings) -> Iterator[Finding]:
    """Check the free space for the database, the log and the outbox, once per disk."""
    places = {"log": settings.tasklog.parent}
    if settings.email_url.path is not None:
        places["outbox"] = settings.email_url.path
    if settings.database_path is not None:
        places["database"] = settings.database_path.parent
    disks: dict[int, tuple[Path, list[str]]] = {}
    for name, place in places.items():
        folder = existing(place)
        disks.setdefault(folder.stat().st_dev, (folder, []))[1].append(name)
    for folder, names in disks.values():
        yield room(folder, names, shutil.disk_usage(folder).free)


def existing(folder: Path) -> Path:
    """Return the folder, or its nearest parent that exists."""
    return next(each for each in (folder, *folder.parents) if _is_folder(each))


def _is_folder(path: Path) -> bool:
    """Return whether the path is a folder. False if it cannot be accessed."""
    try:
        return path.is_dir()
    except PermissionError:
        return False


def room(folder: Path, names: list[str], free: int) -> Finding:
    """Return the finding for this much free space."""
    amount = f"{free / GB:,.0f} GB" if free >= 10 * GB else f"{free / MB:,.0f} MB"
    text = f"{amount} free for {', '.join(names)} ({os.fsdecode(folder)})"
    if free >= WARNING_BYTES:
        return ok("disk", text)
    return (error if free < ERROR_BYTES else warning)(
        "disk", text, "free some space: with a full disk, nothing is saved or sent"
    )
