"""The exception raised for wake-ups in Redis. Importing it does not require the packages for Redis."""

from __future__ import annotations


class QueueUnavailable(Exception):
    """Redis cannot be used now. The text gives the reason and a remedy, and never contains a password."""
