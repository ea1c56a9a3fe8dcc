"""Wake-ups through Redis (SCHEDULER=rq-scheduler): whenever an email is due, an RQ worker runs `task.run_due`.

Theory of operation
-------------------
The database is the only source of truth. A wake-up carries no data; it means "read the database now". One that is lost
delays mail until the next sweep: at the latest, the one that cron starts every five minutes. One that arrives twice
finds nothing to do. So nothing here needs to be reliable, and no failure here may fail a request.

Scheduling. A request commits first and then calls `at`. For a future second, this stores the job `wake-SECOND`;
scheduling the same second again replaces it. To run a sweep now, it puts a job with a unique ID into the queue, because
a sweep that is already running may have read the database before the commit. Redis gets REDIS_TIMEOUT_SECONDS to
connect and the same for each reply, without retries. After a failure, `at` leaves it alone for RETRY_AFTER_SECONDS.

Running. `rqscheduler` moves a job into the queue when it is due, and a worker runs `task.run_due`, which

1. empties the queue if more than MAX_QUEUED_WAKE_UPS wait in it. This sweep reads the database afterwards, so it does
   their work;
2. schedules the next full minute before it sends, in case this process is killed;
3. sweeps, and stops itself long before JOB_TIMEOUT_SECONDS, at which rq would kill it in the middle of a message;
4. schedules the next second at which there is work.

A running job must not reschedule its own ID, because rq deletes the job's record when it ends. It uses the next second
instead. A job fails only if an operator is needed (the database is unavailable, a setting is invalid, the mail server
refuses the session). A refused recipient is only a row in the database.

Recovery. `wake_ups.arm_all` deletes the wake-ups that are past, because rqscheduler stops at one that it cannot read.
Then it schedules the next due times up to a limit, the next retry, and one for now if there is work. A marker is set
first (`set_flush_marker`). If it is gone, Redis was emptied, and everything is scheduled again. In addition, every
sweep schedules the next wake-up, however it was started.

Only `schedulers/wake_ups.py` imports this module, because the packages for Redis are optional.
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
REDIS_TIMEOUT_SECONDS = 0.3  # for the connection, and for each reply
RETRY_AFTER_SECONDS = 15.0  # how long Redis is left alone after a failure
JOB_TIMEOUT_SECONDS = 3600  # rq kills a sweep after this; sweeps stop themselves long before
FAILED_JOB_TTL_SECONDS = 7 * 24 * 3600  # how long failed wake-ups are kept for the operator
BATCH_SIZE = 500  # wake-ups scheduled in one round trip
MAX_QUEUED_WAKE_UPS = 10  # a longer queue is emptied
FLUSH_MARKER_KEY = "email-endpoint:armed"  # disappears if Redis loses the scheduled wake-ups


class QueueStats(NamedTuple):
    """Who serves the queue, and how many wake-ups it has."""

    workers: int
    has_scheduler: bool
    armed: int  # scheduled for a later second
    waiting: int  # in the queue
    failed: int


class WakeUps:
    """The wake-ups of one installation. Connects on first use. Threads may share it, but forked processes must not."""

    def __init__(self, url: str) -> None:
        self._redis = _client(url)
        self._retry_at = 0.0

    @property
    def connection_pool(self) -> ConnectionPool:
        """The connection pool, for other users of the same Redis with the same timeout."""
        return self._redis.connection_pool

    @property
    def address(self) -> str:
        """The address of Redis, without the password."""
        options = self._redis.connection_pool.connection_kwargs
        return str(options.get("path") or f"{options.get('host', 'localhost')}:{options.get('port', 6379)}")

    def at(self, *seconds: int) -> None:
        """Schedule wake-ups at these seconds (since 1970 UTC) if Redis is available. Never raises."""
        self._try(lambda: self.arm(seconds))

    def drain_queue(self) -> None:
        """Empty the queue if many wake-ups are in it. The caller must sweep next, for all of them. Never raises."""
        self._try(self._drain_queue)

    def arm(self, seconds: Iterable[int]) -> int:
        """Schedule a wake-up at each of these seconds, and a single one now for all past ones.

        Return how many were scheduled. Raises QueueUnavailable.
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
        """Delete the wake-ups whose second is past, because rqscheduler stops at one that it cannot read.

        The caller must read the database next. Raises QueueUnavailable.
        """
        with self._translate_errors():
            past = self._redis.zrangebyscore(Scheduler.scheduled_jobs_key, 0, int(time.time()))
            ours = [job_id for job_id in map(_as_text, past) if job_id.startswith("wake-")]
            if ours:
                self._redis.zrem(Scheduler.scheduled_jobs_key, *ours)
                self._redis.delete(*map(Job.key_for, ours))

    def set_flush_marker(self) -> None:
        """Set the marker for `was_flushed`. Call this before scheduling, so that the marker is lost if any wake-up is.

        Raises QueueUnavailable.
        """
        with self._translate_errors():
            self._redis.set(FLUSH_MARKER_KEY, int(time.time()))

    def was_flushed(self) -> bool:
        """Return whether Redis has been emptied since the marker was set. Raises QueueUnavailable."""
        with self._translate_errors():
            return not self._redis.exists(FLUSH_MARKER_KEY)

    def _is_alive(self, scheduler: bytes) -> bool:
        """Return whether a scheduler is running. Its key expires soon after a kill, and has a `death` after a stop."""
        return not self._redis.hexists(str(scheduler, "ascii"), "death")

    def ping(self) -> None:
        """Raise QueueUnavailable if Redis does not respond."""
        with self._translate_errors():
            self._redis.ping()

    def stats(self) -> QueueStats:
        """Return the state of the queue. Raises QueueUnavailable."""
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
        """Return whether a worker is running on this host. Its key expires if it hangs. Raises QueueUnavailable."""
        queue = Queue(QUEUE_NAME, connection=self._redis)
        with self._translate_errors():
            return any(worker.hostname == hostname for worker in Worker.all(queue=queue))

    def _schedule(self, seconds: list[int]) -> None:
        """Do what rq-scheduler's enqueue_at does, for all seconds at once: in one round trip, all or nothing."""
        # rq deletes the hash of the running job when it ends, even if the job was scheduled again.
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
        """Queue a wake-up now, with a unique ID: one that is running may already have read the database."""
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
        except Exception as error:  # noqa: BLE001 - the email is already saved, so its request must not fail
            self._retry_at = time.monotonic() + RETRY_AFTER_SECONDS
            reason = error if isinstance(error, QueueUnavailable) else type(error)  # its text could contain secrets
            logging.getLogger(__name__).warning("could not schedule a wake-up: %s", reason)

    @contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, ValueError) as error:
            raise QueueUnavailable(
                f"cannot use Redis at {self.address}: {error} (start it, check REDIS_URL, or set SCHEDULER=cron)"
            ) from None


def _as_text(job_id: object) -> str:
    return job_id.decode() if isinstance(job_id, bytes) else str(job_id)


def _client(url: str) -> Redis:
    retry = Retry(NoBackoff(), 0)
    try:
        timeout = REDIS_TIMEOUT_SECONDS
        return Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=retry)
    except ValueError:  # its text may contain the password
        raise QueueUnavailable("REDIS_URL has an invalid option; see the options of redis-py") from None
