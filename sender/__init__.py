"""The sweep that `task.py` runs once something is due: senders, their queues and their logs."""
