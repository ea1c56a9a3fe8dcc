"""How a sweep, or one sender's turn in it, ended."""

from __future__ import annotations

from enum import Enum


class Ended(Enum):
    """How a sweep ended."""

    DONE = "what was due then is sent"
    IDLE = "there was nothing left to send"
    BUSY = "as many senders as SENDERS allows are at work already"
    UNLOGGED = "what was due is sent, but the log cannot be written"
    FULL = "as many messages are sent as SMTP_MAX_PER_DAY allows"
    REFUSED = "what is due cannot be sent now; the log says why"
