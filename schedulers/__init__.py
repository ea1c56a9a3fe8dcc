"""What starts a sweep at the right time: the cron job and the Redis queue.

A wake-up carries no mail; it only says "read the database now". So one that is lost delays mail, and one that comes
twice does no harm.
"""
