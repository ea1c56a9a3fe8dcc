"""The Maildir: the sender that writes to it, and reading what is in it."""
