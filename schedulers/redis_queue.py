"""Wake-ups through Redis: at the second for which one is armed, a worker of the queue runs `task.run_due`.

The database is the only source of truth. A wake-up is armed after the commit it stands for, so losing all of Redis
only delays mail, and a wake-up that comes twice finds nothing to do. `schedulers/wake_ups.py` says when this module is
imported.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from redis import ConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue, Worker
from rq.job import Job, JobStatus
from rq_scheduler import Scheduler

from schedulers.errors import QueueUnavailable

QUEUE_NAME = "email-endpoint"
JOB_FUNCTION = "task.run_due"
REDIS_TIMEOUT_SECONDS = 0.3  # for each reply of Redis: no request waits longer for a wake-up
RETRY_AFTER_SECONDS = 15.0  # a Redis that failed is not tried again sooner
JOB_TIMEOUT_SECONDS = 3600  # then rq kills a sweep, wherever it is; a sweep stops long before
FAILED_JOB_TTL_SECONDS = 7 * 24 * 3600  # how long a failed wake-up is kept for the operator
BATCH_SIZE = 500  # wake-ups armed in one round trip
MAX_QUEUED_WAKE_UPS = 10  # a longer queue is drained
FLUSH_MARKER_KEY = "email-endpoint:armed"  # a key that disappears when Redis loses the armed wake-ups


class QueueStats(NamedTuple):
    """The workers and the scheduler of the queue, and its numbers of wake-ups."""

    workers: int
    has_scheduler: bool
    armed: int
    waiting: int
    failed: int


class WakeUps:
    """The wake-ups of one installation. Threads may share it; forked processes may not. It connects when first used."""

    def __init__(self, url: str) -> None:
        self._redis = _client(url)
        self._retry_at = 0.0

    @property
    def connection_pool(self) -> ConnectionPool:
        """The connections, for others that use the same Redis with the same timeout."""
        return self._redis.connection_pool

    @property
    def address(self) -> str:
        """Where Redis is, without a password."""
        options = self._redis.connection_pool.connection_kwargs
        return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")

    def at(self, *seconds: int) -> None:
        """Arm wake-ups at these seconds if Redis answers. Never raises: without a wake-up, mail only goes out later."""
        self._try(lambda: self.arm(seconds))

    def drain_queue(self) -> None:
        """Empty the queue if many wake-ups are in it: the next sweep does the work of all of them. Never raises."""
        self._try(self._drain_queue)

    def arm(self, seconds: Iterable[int]) -> int:
        """Arm a wake-up at each of these seconds, and a single one now for all past ones; return how many.

        Raises QueueUnavailable.
        """
        now = time.time()
        due_seconds = set(seconds)
        later = sorted(second for second in due_seconds if second > now)
        any_past = len(later) < len(due_seconds)
        with self._translate_errors():
            for start in range(0, len(later), BATCH_SIZE):
                self._schedule(later[start : start + BATCH_SIZE])
            if any_past:
                self._enqueue()
        return len(later) + any_past

    def drop_past(self) -> None:
        """Delete the wake-ups whose second is past: one that cannot be read stops rqscheduler. Raises QueueUnavailable.

        The caller must read the database next.
        """
        with self._translate_errors():
            past = self._redis.zrangebyscore(Scheduler.scheduled_jobs_key, 0, int(time.time()))
            ours = [job_id for job_id in map(_as_text, past) if job_id.startswith("wake-")]
            if ours:
                self._redis.zrem(Scheduler.scheduled_jobs_key, *ours)
                self._redis.delete(*map(Job.key_for, ours))

    def set_flush_marker(self) -> None:
        """Set the marker for `was_flushed`. Call it before arming all, so that it is lost if any of them is.

        Raises QueueUnavailable.
        """
        with self._translate_errors():
            self._redis.set(FLUSH_MARKER_KEY, int(time.time()))

    def was_flushed(self) -> bool:
        """Return whether Redis was emptied since the marker was set. Raises QueueUnavailable."""
        with self._translate_errors():
            return not self._redis.exists(FLUSH_MARKER_KEY)

    def _is_alive(self, scheduler: bytes) -> bool:
        """Return whether a scheduler runs. Its key expires soon after a kill, and gets a `death` when it stops."""
        return not self._redis.hexists(str(scheduler, "ascii"), "death")

    def ping(self) -> None:
        """Raises QueueUnavailable unless Redis answers."""
        with self._translate_errors():
            self._redis.ping()

    def stats(self) -> QueueStats:
        """Return who works on the queue, and what is in it. Raises QueueUnavailable."""
        queue = Queue(QUEUE_NAME, connection=self._redis)
        scheduler = Scheduler.redis_scheduler_namespace_prefix
        with self._translate_errors():
            return QueueStats(
                workers=Worker.count(connection=self._redis, queue=queue),
                has_scheduler=any(map(self._is_alive, self._redis.scan_iter(f"{scheduler}*", count=1000))),
                armed=int(self._redis.zcard(Scheduler.scheduled_jobs_key)),
                waiting=queue.count,
                failed=queue.failed_job_registry.count,
            )

    def has_worker_on(self, hostname: str) -> bool:
        """Return whether a worker of this host runs. Its key expires when it hangs. Raises QueueUnavailable."""
        queue = Queue(QUEUE_NAME, connection=self._redis)
        with self._translate_errors():
            return any(worker.hostname == hostname for worker in Worker.all(queue=queue))

    def _schedule(self, seconds: list[int]) -> None:
        """Do what rq-scheduler's enqueue_at does, for all seconds in one round trip, all or nothing."""
        # The hash of the running job is deleted when it ends, even if the job has been armed again.
        own = os.environ.get("RQ_JOB_ID")
        with self._redis.pipeline() as pipeline:
            for second in seconds:
                at = second + (own == f"wake-{second}")
                job = Job.create(
                    JOB_FUNCTION,
                    connection=self._redis,
                    id=f"wake-{at}",
                    origin=QUEUE_NAME,
                    timeout=JOB_TIMEOUT_SECONDS,
                    result_ttl=0,
                    failure_ttl=FAILED_JOB_TTL_SECONDS,
                    status=JobStatus.SCHEDULED,
                )
                job.save(pipeline=pipeline)
                pipeline.zadd(Scheduler.scheduled_jobs_key, {job.id: at})
            pipeline.execute()

    def _enqueue(self) -> None:
        """Queue a wake-up now. Its id is unique: another one that runs now may already have read the database."""
        queue = Queue(QUEUE_NAME, connection=self._redis)
        queue.enqueue(JOB_FUNCTION, job_timeout=JOB_TIMEOUT_SECONDS, result_ttl=0, failure_ttl=FAILED_JOB_TTL_SECONDS)

    def _drain_queue(self) -> None:
        queue = Queue(QUEUE_NAME, connection=self._redis)
        with self._translate_errors():
            if queue.count > MAX_QUEUED_WAKE_UPS:
                queue.empty()  # type: ignore[no-untyped-call]

    def _try(self, act: Callable[[], object]) -> None:
        if time.monotonic() < self._retry_at:
            return
        try:
            act()
        except Exception as error:  # noqa: BLE001 - the email is saved, so nothing may fail its POST any more
            self._retry_at = time.monotonic() + RETRY_AFTER_SECONDS
            reason = error if isinstance(error, QueueUnavailable) else type(error)  # its text may contain anything
            logging.getLogger(__name__).warning("no wake-up was armed: %s", reason)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, ValueError) as error:
            raise QueueUnavailable(
                f"Redis at {self.address} cannot be used: {error} (start it, look at REDIS_URL, or set SCHEDULER=cron)"
            ) from None


def _as_text(job_id: object) -> str:
    return job_id.decode() if isinstance(job_id, bytes) else str(job_id)


def _client(url: str) -> Redis:
    retry = Retry(NoBackoff(), 0)
    try:
        timeout = REDIS_TIMEOUT_SECONDS
        return Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=retry)
    except ValueError:  # its text may contain the password
        raise QueueUnavailable("REDIS_URL has an option that is not right; allowed: those of redis-py") from None
