"""Senders: their leases and locks, the clock they work by, and what keeps them from sending."""
