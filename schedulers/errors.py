"""The error of the wake-ups in Redis. Importing it does not require the packages for Redis."""

from __future__ import annotations


class QueueUnavailable(Exception):
    """No wake-up can be scheduled now. The text gives the reason and a remedy, and never contains a password."""
