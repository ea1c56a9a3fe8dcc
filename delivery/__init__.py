"""From an email and an address to an outcome: messages, and the senders that deliver them.

Nothing in here knows the database, the settings or Flask.
"""
