"""The cron job: writes, finds, replaces and removes its line in the crontab."""
