"""Start sweeps at the right time: the cron job and the Redis queue.

A wake-up carries no data. It only means "read the database now", so a lost one delays mail, and a repeated one does no
harm.
"""
