"""The result of a sweep, or of one sender's part in it."""

from __future__ import annotations

from enum import Enum


class SweepResult(Enum):
    """The result of a sweep. Its value is logged as `ended` in the log of the service."""

    DONE = "done"  # everything due has been sent
    IDLE = "idle"  # nothing was due
    BUSY = "busy"  # SENDERS senders are already running
    LOG_FAILED = "unlogged"  # everything due has been sent, but tasklog.log is not writable
    QUOTA_REACHED = "full"  # SMTP_MAX_PER_DAY messages have been sent
    CANNOT_SEND = "refused"  # nothing can be sent now; tasklog.log says why
