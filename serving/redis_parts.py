"""The parts that SCHEDULER=rq-scheduler adds: the worker that runs sweeps, and the scheduler that triggers them.

Both exit with an error when they lose the connection to Redis, and the supervisor restarts them. They then wait until
Redis responds, and reschedule all wake-ups, because Redis may have lost its data.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from redis import Redis, RedisError
from rq import Queue, Worker
from rq.job import Job
from rq_scheduler import Scheduler

import sender.sweeper  # noqa: F401 # imported once: the worker forks for each sweep
from database import DBError, open_database
from schedulers.errors import QueueUnavailable
from schedulers.redis_queue import QUEUE_NAME, WakeUps
from schedulers.wake_ups import arm_all
from serving.lifeline import stop_when_input_ends
from serving.supervisor import say
from settings import Settings, load_settings

SCHEDULER_INTERVAL = 0.25  # seconds; a wake-up may be this late
ARM_INTERVAL = 60.0  # seconds
WAKE_UPS_AHEAD = 100  # each sweep schedules the next one anyway
LOSS_CHECK_INTERVAL = 1.0  # seconds between two checks whether Redis was emptied


class SweepWorker(Worker):
    """An RQ worker whose sweeps stop with the service, once they have finished their in-flight messages."""

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run a sweep in its own process, in the process group that the supervisor waits for."""
        os.setpgid(0, os.getppid())
        stop_when_input_ends()
        super().main_work_horse(job, queue)

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Kill only the process: this worker is in the same process group."""
        os.kill(self.horse_pid, sig)


def work() -> None:
    """Run a sweep for each wake-up in the queue, until stopped."""
    _while_redis_answers(lambda redis: SweepWorker([QUEUE_NAME], connection=redis).work(logging_level="WARNING"))


def schedule() -> None:
    """Add each wake-up to the queue when it is due, until stopped."""
    threading.Thread(target=_arm_now_and_then, daemon=True).start()
    _while_redis_answers(lambda redis: Scheduler(connection=redis, interval=SCHEDULER_INTERVAL).run())


def _while_redis_answers(run: Callable[[Redis], object]) -> None:
    settings, wake_ups = _configured()
    _wait_for(wake_ups)
    _arm(settings, wake_ups)
    try:
        run(Redis.from_url(settings.redis_url))
    except RedisError as error:
        say(f"Lost the connection to Redis at {wake_ups.address}: {error}")
        sys.exit(1)


def _arm_now_and_then() -> None:
    settings, wake_ups = _configured()
    while True:
        if _lost_within(ARM_INTERVAL, wake_ups):
            say(f"Redis at {wake_ups.address} was emptied. Rescheduling all wake-ups.")
            _arm(settings, wake_ups)
        else:
            _arm(settings, wake_ups, WAKE_UPS_AHEAD)


def _lost_within(seconds: float, wake_ups: WakeUps) -> bool:
    """Wait for this time, and return False; return True as soon as Redis has lost its wake-ups."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(LOSS_CHECK_INTERVAL)
        with suppress(QueueUnavailable):  # _while_redis_answers reports it
            if wake_ups.was_flushed():
                return True
    return False


def _wait_for(wake_ups: WakeUps) -> None:
    announced = False
    while True:
        try:
            wake_ups.ping()
        except QueueUnavailable as error:
            if not announced:
                say(f"Waiting: {error}")
            announced = True
            time.sleep(1)
        else:
            return


def _arm(settings: Settings, wake_ups: WakeUps, *most: int) -> None:
    try:
        wake_ups.set_flush_marker()
        with open_database(settings) as database:
            arm_all(wake_ups, database, int(time.time()), *most)
    except (DBError, QueueUnavailable) as error:
        say(f"Could not schedule wake-ups: {error}")


def _configured() -> tuple[Settings, WakeUps]:
    settings = load_settings()
    return settings, WakeUps(settings.redis_url)
