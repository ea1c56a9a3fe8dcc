"""What makes a sweep run at the right time: the cron job and the Redis queue.

A wake-up carries no mail. It only says "look at the database now", so one that is lost delays mail and one
that comes twice does no harm.
"""
