"""Access control: tokens, sessions, protection against forged requests, and rate limits."""
