"""What `task.py` runs once something is due: sweeps, senders, and their logs."""
