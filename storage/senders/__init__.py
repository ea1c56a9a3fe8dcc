"""Senders: their leases and locks, the clocks that they rely on, and the errors that stop them."""
