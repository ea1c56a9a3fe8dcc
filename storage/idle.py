"""The fast path of `task.py`: check with one SQL statement whether a sweep has anything to do.

Cron starts `task.py` every minute, and nearly always nothing is due. So `task.py` checks here before it imports the
rest of the program. The answer is either "certainly not", which is recorded as a heartbeat, or "maybe": something is
due, or something is unusual (another schema, a restart of the machine, a jump of the clock, a sender that may have
died, an error). In that case the full program runs and decides.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from storage.clock import MAX_CLOCK_BACK, MAX_CLOCK_FORWARD, MAX_CLOCK_STEP, boot_id, clock_offset
from storage.schema.version import DIGEST, VERSION
from storage.sqlite.driver import driver, file_uri

HEARTBEAT_SECONDS = 30  # the minimum time between two recorded heartbeats

# For both engines. The scalar subquery uses an index to find the next delivery of each unfinished email; with a join,
# the planner might read whole tables. A cancelled email has work until all its deliveries are cancelled.
HAS_WORK = """
SELECT EXISTS (SELECT 1 FROM emails WHERE status = 'scheduled' AND due_at <= :until)
    OR EXISTS (
        SELECT 1 FROM progress p WHERE p.cursor_id < p.last_recipient_id
            AND NOT EXISTS (SELECT 1 FROM emails e WHERE e.event_id = p.event_id AND e.status = 'held'))
    OR EXISTS (
        SELECT 1 FROM (SELECT event_id FROM emails WHERE status = 'sending' UNION ALL
                       SELECT event_id FROM emails WHERE status = 'cancelled' AND finished_at IS NULL) AS e
        WHERE (SELECT d.next_attempt_at FROM deliveries d
               WHERE d.claimed_by IS NULL AND d.finished_at IS NULL AND d.event_id = e.event_id
               ORDER BY d.next_attempt_at LIMIT 1) <= :until)
    OR (:log = 1 AND EXISTS (SELECT 1 FROM emails WHERE status = 'sent' AND logged = 0))
"""
OLDEST_PRUNABLE = """
SELECT event_id FROM emails
WHERE finished_at IS NOT NULL AND content_digest IS NULL AND finished_at <= :before
    AND (status = 'cancelled' OR logged = 1)
ORDER BY finished_at LIMIT 1
"""
# Chunks of 8,192 recipients that wait to be indexed (storage/search/index.py): those that have changed, and the next
# one, if all of its ids have been assigned.
SEARCH_INDEX_IS_BEHIND = """
SELECT EXISTS (SELECT 1 FROM search_chunks WHERE state <> 0 AND state > 0)
    OR EXISTS (SELECT 1 FROM counters WHERE name = 'recipient_id'
               AND value >= ((SELECT COALESCE(MAX(chunk), -1) FROM search_chunks) + 2) * 8192 - 1)
"""
IS_IDLE = f"""
SELECT NOT ({HAS_WORK})
    AND NOT EXISTS (SELECT 1 FROM senders)
    AND NOT EXISTS (SELECT 1 FROM counters WHERE name = 'backup_made_at')
    AND NOT EXISTS ({OLDEST_PRUNABLE})
    AND NOT ({SEARCH_INDEX_IS_BEHIND})
    AND EXISTS (SELECT 1 FROM meta WHERE name = 'schema_version' AND value = :version)
    AND EXISTS (SELECT 1 FROM meta WHERE name = 'schema_digest' AND value = :digest)
    AND EXISTS (SELECT 1 FROM meta WHERE name = 'boot' AND value = :boot)
    AND EXISTS (SELECT 1 FROM counters WHERE name = 'last_sweep_at' AND value BETWEEN :earliest AND :latest)
    AND EXISTS (SELECT 1 FROM host_clocks WHERE boot_id = :boot AND ABS(offset_seconds - :offset) <= :max_step)
    AND NOT EXISTS (SELECT 1 FROM sender_errors WHERE kind = 'clock')
"""  # noqa: S608 # constants of this module
RECORD_HEARTBEAT = """
UPDATE counters SET value = :now WHERE name = 'last_sweep_at' AND value <= :now - :heartbeat_seconds
"""


@contextmanager
def idle_sweep(database: Path, ahead: int, keep_for: int) -> Iterator[bool]:
    """Yield True, and record a heartbeat, if there is certainly nothing to do now and for the next `ahead` seconds.

    `keep_for` is the age in seconds at which emails are pruned; 0 means never. The connection stays open inside the
    block, because the last connection to close deletes the write-ahead log, which the full program has to check after a
    restart.
    """
    try:
        connection = driver.connect(file_uri(database), uri=True, timeout=0.2, isolation_level=None)
    except driver.Error:
        yield False
        return
    with closing(connection):
        yield _is_idle(connection, ahead, keep_for)


def _is_idle(connection: driver.Connection, ahead: int, keep_for: int) -> bool:
    now = int(time.time())
    values = {
        "until": now + ahead,
        "log": 1,
        "before": now - keep_for if keep_for else -1,
        "version": str(VERSION),
        "digest": DIGEST,
        "boot": boot_id(),
        "earliest": now - MAX_CLOCK_FORWARD,
        "latest": now + MAX_CLOCK_BACK,
        "offset": clock_offset(),
        "max_step": MAX_CLOCK_STEP,
    }
    try:
        if connection.execute(IS_IDLE, values).fetchone() != (1,):
            return False
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute(RECORD_HEARTBEAT, {"now": now, "heartbeat_seconds": HEARTBEAT_SECONDS})
    except driver.Error:
        return False
    return True
