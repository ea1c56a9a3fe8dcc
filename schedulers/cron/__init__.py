"""The cron job: write, find, replace and remove its line in the crontab."""
