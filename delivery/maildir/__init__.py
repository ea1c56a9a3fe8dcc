"""The Maildir: a sender that delivers into it, and a reader for its messages."""
