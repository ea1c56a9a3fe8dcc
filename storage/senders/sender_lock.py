"""A file lock for each sender on this host: free as soon as its process is dead, however it died."""

from __future__ import annotations

import os
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows: nothing is known of other processes, so their leases decide
    fcntl = None  # type: ignore[assignment]


class SenderLocks:
    """The locks of the senders on one database, as files `<database>-sender-<id>` beside it."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._held: dict[int, int] = {}

    def hold(self, sender_id: int) -> None:
        """Make this sender's file and lock it, without waiting; raises OSError."""
        if fcntl is None:
            return
        descriptor = os.open(self._path(sender_id), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._held[sender_id] = descriptor

    def release(self, sender_id: int) -> None:
        """Remove this sender's file and its lock; a file that is gone already is as good."""
        self._path(sender_id).unlink(missing_ok=True)
        descriptor = self._held.pop(sender_id, None)
        if descriptor is not None:
            os.close(descriptor)

    def is_free(self, sender_id: int) -> bool:
        """Whether the sender's file is there and nobody holds its lock; a missing file tells nothing."""
        if fcntl is None:
            return False
        try:
            descriptor = os.open(self._path(sender_id), os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: several may look at once
        except BlockingIOError:
            return False
        finally:
            os.close(descriptor)
        return True

    def _path(self, sender_id: int) -> Path:
        return self._database.with_name(f"{self._database.name}-sender-{sender_id}")
