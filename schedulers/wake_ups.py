"""Create the wake-ups that the setting SCHEDULER requires.

Only this module imports `schedulers.redis_queue`, and with it the packages for Redis, which are optional and not needed
with SCHEDULER=cron. (serving/redis_parts.py imports them too, but runs only with SCHEDULER=rq-scheduler.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from database import Database
from schedulers.errors import QueueUnavailable
from settings import Settings

if TYPE_CHECKING:
    from schedulers.redis_queue import WakeUps

MAX_ARMED_WAKE_UPS = 10_000  # scheduled at once; each sweep schedules the next one anyway


def wake_ups_of(settings: Settings) -> WakeUps | None:
    """Return the wake-ups for SCHEDULER, or None with cron. Raises QueueUnavailable if packages are missing."""
    if settings.scheduler != "rq-scheduler":
        return None
    try:
        from schedulers.redis_queue import WakeUps
    except ModuleNotFoundError as error:
        command = ".venv/bin/python -m pip install --no-deps -r requirements/redis.txt"
        raise QueueUnavailable(f"SCHEDULER=rq-scheduler needs {error.name}: run {command}") from None
    return WakeUps(settings.redis_url)


def arm_all(wake_ups: WakeUps, database: Database, now: int, limit: int = MAX_ARMED_WAKE_UPS) -> int:
    """Schedule a wake-up for each of the next `limit` due times, for the next retry, and for now if there is work.

    Return how many were scheduled. Safe to repeat. Raises QueueUnavailable.
    """
    wake_ups.drop_past()
    seconds = set(database.progress.next_due_seconds(now, limit))
    retry_at = database.deliveries.next_attempt_at()
    if retry_at is not None:
        seconds.add(retry_at)
    if database.has_work(now):
        seconds.add(now)
    return wake_ups.arm(seconds)
