"""A file lock for each sender on this host. The kernel releases it as soon as the process dies, for whatever reason."""

from __future__ import annotations

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: whether other processes are alive is unknown, so their leases decide
    fcntl = None  # type: ignore[assignment]


class SenderLocks:
    """The locks of the senders of one database: files named `<database>-sender-<id>` next to it."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._held: dict[int, int] = {}

    def hold(self, sender_id: int) -> None:
        """Create and lock this sender's file, without waiting. Raises OSError."""
        if fcntl is None:
            return
        descriptor = os.open(self._path(sender_id), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._held[sender_id] = descriptor

    def release(self, sender_id: int) -> None:
        """Delete this sender's file, if it exists, and release its lock."""
        self._path(sender_id).unlink(missing_ok=True)
        descriptor = self._held.pop(sender_id, None)
        if descriptor is not None:
            os.close(descriptor)

    def is_free(self, sender_id: int) -> bool:
        """Return whether the sender's file exists and is not locked. A missing file proves nothing."""
        if fcntl is None:
            return False
        try:
            descriptor = os.open(self._path(sender_id), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared, so that several processes can check
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _path(self, sender_id: int) -> Path:
        return self._database.with_name(f"{self._database.name}-sender-{sender_id}")
