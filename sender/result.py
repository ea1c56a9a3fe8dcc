"""How a sweep, or one sender's part in it, ended."""

from __future__ import annotations

from enum import Enum


class SweepResult(Enum):
    """How a sweep ended. The value is the `ended` of its line in the service's log."""

    DONE = "done"  # everything that was due has been sent
    IDLE = "idle"  # there was nothing left to send
    BUSY = "busy"  # as many senders as SENDERS allows are already at work
    LOG_FAILED = "unlogged"  # everything that was due has been sent, but tasklog.log cannot be written
    QUOTA_REACHED = "full"  # as many messages have been sent as SMTP_MAX_PER_DAY allows
    CANNOT_SEND = "refused"  # nothing that is due can be sent now; tasklog.log says why
