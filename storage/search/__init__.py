"""Search recipients by any part of their address or of a personal field."""
