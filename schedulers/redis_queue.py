"""Wake-ups through Redis: at the second for which one is armed, a worker of the queue runs `task.run_due`.

The database is the only truth. A wake-up is armed after the commit it stands for, so losing all of Redis delays
mail, and what comes twice finds nothing to do. `schedulers/wake_ups.py` says when this module is imported.
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

QUEUE = "email-endpoint"
FUNCTION = "task.run_due"
PATIENCE = 0.3  # seconds for each answer of Redis: no request waits longer for a wake-up
REST = 15.0  # seconds for which a Redis that failed is left alone
TIMEOUT = 3600  # seconds until rq breaks a sweep off, wherever it is: far beyond where a sweep stops itself
KEPT = 7 * 24 * 3600  # seconds for which a failed wake-up is kept for the operator
BATCH = 500  # wake-ups armed in one round trip
PILE = 10  # wake-ups in line that are worth dropping
MARK = "email-endpoint:armed"  # a key that is gone once Redis has lost what was armed


class QueueState(NamedTuple):
    """Who is at work in Redis, and on how many wake-ups."""

    workers: int
    has_scheduler: bool
    armed: int
    waiting: int
    failed: int


class WakeUps:
    """The wake-ups of one installation; may be shared by threads, not across a fork. Opens no connection yet."""

    def __init__(self, url: str) -> None:
        self._redis = _client(url)
        self._rest_until = 0.0

    @property
    def connection_pool(self) -> ConnectionPool:
        """The connections, for others who use the same Redis with the same patience."""
        return self._redis.connection_pool

    @property
    def place(self) -> str:
        """Where Redis is, as it may be shown."""
        where = self._redis.connection_pool.connection_kwargs
        return str(where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}")

    def at(self, *seconds: int) -> None:
        """Arm wake-ups at these seconds if Redis answers. Never raises: other sweeps send it otherwise, later."""
        self._try(lambda: self.arm(seconds))

    def drain_queue(self) -> None:
        """Empty the queue if many wake-ups are in line: whoever looks at the database next does it for all of them."""
        self._try(self._drain_queue)

    def arm(self, seconds: Iterable[int]) -> int:
        """Arm a wake-up at each of these seconds, those that are past as one now; how many. Raises QueueUnavailable."""
        now = time.time()
        wanted = set(seconds)
        later = sorted(second for second in wanted if second > now)
        any_past = len(later) < len(wanted)
        with self._told():
            for start in range(0, len(later), BATCH):
                self._schedule(later[start : start + BATCH])
            if any_past:
                self._enqueue()
        return len(later) + any_past

    def drop_past(self) -> None:
        """Forget the wake-ups whose second is past: one that cannot be read stops rqscheduler. Raises QueueUnavailable.

        Whoever calls this looks at the database next.
        """
        with self._told():
            past = self._redis.zrangebyscore(Scheduler.scheduled_jobs_key, 0, int(time.time()))
            ours = [job_id for job_id in map(_as_text, past) if job_id.startswith("wake-")]
            if ours:
                self._redis.zrem(Scheduler.scheduled_jobs_key, *ours)
                self._redis.delete(*map(Job.key_for, ours))

    def mark(self) -> None:
        """Leave a mark; before arming all, so that whatever is lost, the mark is lost too. Raises QueueUnavailable."""
        with self._told():
            self._redis.set(MARK, int(time.time()))

    def were_lost(self) -> bool:
        """Whether Redis was emptied since the mark was left. Raises QueueUnavailable."""
        with self._told():
            return not self._redis.exists(MARK)

    def _is_alive(self, scheduler: bytes) -> bool:
        """Its record ends by itself soon after it was killed, and says so for a while when it was stopped."""
        return not self._redis.hexists(str(scheduler, "ascii"), "death")

    def ping(self) -> None:
        """Raises QueueUnavailable unless Redis answers."""
        with self._told():
            self._redis.ping()

    def look(self) -> QueueState:
        """Who is at work on the queue, and what is in it. Raises QueueUnavailable."""
        queue = Queue(QUEUE, connection=self._redis)
        scheduler = Scheduler.redis_scheduler_namespace_prefix
        with self._told():
            return QueueState(
                workers=Worker.count(connection=self._redis, queue=queue),
                has_scheduler=any(map(self._is_alive, self._redis.scan_iter(f"{scheduler}*", count=1000))),
                armed=int(self._redis.zcard(Scheduler.scheduled_jobs_key)),
                waiting=queue.count,
                failed=queue.failed_job_registry.count,
            )

    def _schedule(self, seconds: list[int]) -> None:
        """What rq-scheduler's enqueue_at does, for all of them in one round trip and at once or not at all."""
        # The hash of the job that runs now is deleted when it ends, were it armed anew or not.
        own = os.environ.get("RQ_JOB_ID")
        with self._redis.pipeline() as pipeline:
            for second in seconds:
                at = second + (own == f"wake-{second}")
                job = Job.create(
                    FUNCTION,
                    connection=self._redis,
                    id=f"wake-{at}",
                    origin=QUEUE,
                    timeout=TIMEOUT,
                    result_ttl=0,
                    failure_ttl=KEPT,
                    status=JobStatus.SCHEDULED,
                )
                job.save(pipeline=pipeline)
                pipeline.zadd(Scheduler.scheduled_jobs_key, {job.id: at})
            pipeline.execute()

    def _enqueue(self) -> None:
        """A wake-up now, straight into the queue. Its id is its own: another one at work may have looked already."""
        queue = Queue(QUEUE, connection=self._redis)
        queue.enqueue(FUNCTION, job_timeout=TIMEOUT, result_ttl=0, failure_ttl=KEPT)

    def _drain_queue(self) -> None:
        queue = Queue(QUEUE, connection=self._redis)
        with self._told():
            if queue.count > PILE:
                queue.empty()  # type: ignore[no-untyped-call]

    def _try(self, act: Callable[[], object]) -> None:
        if time.monotonic() < self._rest_until:
            return
        try:
            act()
        except Exception as error:  # noqa: BLE001 - the email is saved: from here on nothing may fail its POST
            self._rest_until = time.monotonic() + REST
            reason = error if isinstance(error, QueueUnavailable) else type(error)  # whose text may hold anything
            logging.getLogger(__name__).warning("no wake-up was armed: %s", reason)

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError, ValueError) as error:
            raise QueueUnavailable(
                f"Redis at {self.place} cannot be used: {error} (start it, look at REDIS_URL, or set SCHEDULER=cron)"
            ) from None


def _as_text(job_id: object) -> str:
    return job_id.decode() if isinstance(job_id, bytes) else str(job_id)


def _client(url: str) -> Redis:
    retry = Retry(NoBackoff(), 0)
    try:
        return Redis.from_url(url, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=retry)
    except ValueError:  # its text may hold the password
        raise QueueUnavailable("REDIS_URL has an option that is not right; allowed: those of redis-py") from None
