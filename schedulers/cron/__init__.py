"""The cron job: its line in the crontab, made, found, replaced and removed."""
