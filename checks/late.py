"""From when on sweeps are late, for `flask check` and for the probes alike."""

from __future__ import annotations

# Three times what passes between two sweeps: cron's minute, or the five of the safety net beside Redis.
LATE = {"cron": 3 * 60, "rq-scheduler": 15 * 60}  # seconds, by SCHEDULER
