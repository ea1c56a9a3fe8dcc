"""The error of the wake-ups in Redis; needs no package of Redis."""

from __future__ import annotations


class QueueUnavailable(Exception):
    """No wake-up can be scheduled now. The text says why and what to do about it, and never shows a password."""
