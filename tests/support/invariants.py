"""Invariants that must hold after every run, whatever was killed, cut off or refused.

`Mailing` is an installation that sends to a scripted server. The server records each message that it accepts, and
`check` compares these with the database.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from database import Database
from storage.sqlite.connection import SQLiteConnection
from tests.support.installation import ForkingInstallation
from tests.support.servers.smtp_server import Accepted, ScriptedServer

DELIVERIES = "SELECT event_id, address, status FROM deliveries"
DOUBTS = """
SELECT d.event_id, d.address, COUNT(*) FROM attempts a
JOIN deliveries d ON d.event_id = a.event_id AND d.recipient_id = a.recipient_id
WHERE a.outcome = 'in_doubt' GROUP BY d.event_id, d.address
"""
MISCOUNTED = """
SELECT p.event_id FROM progress p LEFT JOIN deliveries d ON d.event_id = p.event_id GROUP BY p.event_id
HAVING p.deliveries <> COUNT(d.event_id)
    OR p.sent <> COUNT(CASE WHEN d.status = 'sent' THEN 1 END)
    OR p.failed <> COUNT(CASE WHEN d.status = 'failed' THEN 1 END)
    OR p.unknown <> COUNT(CASE WHEN d.status = 'unknown' THEN 1 END)
    OR p.cancelled <> COUNT(CASE WHEN d.status = 'cancelled' THEN 1 END)
"""
COUNTED_WRONG = """
SELECT entity, status FROM (
    SELECT 'emails' AS entity, status, 1 AS total FROM emails UNION ALL
    SELECT 'recipients', CASE WHEN removed_at IS NOT NULL THEN 'removed' WHEN listed = 0 AND status = 'active'
        THEN 'named' ELSE status END, 1 FROM recipients UNION ALL
    SELECT entity, status, -total FROM status_counts) AS one
GROUP BY entity, status HAVING SUM(total) <> 0
"""
MISCOUNTED_LISTS = """
SELECT l.name FROM lists l LEFT JOIN memberships m ON m.list_id = l.list_id AND m.left_at IS NULL
WHERE l.deleted_at IS NULL GROUP BY l.list_id HAVING l.members <> COUNT(m.list_id)
"""
MEMBERS_REMOVED = """
SELECT m.list_id, m.recipient_id FROM memberships m LEFT JOIN recipients r ON r.recipient_id = m.recipient_id
WHERE r.recipient_id IS NULL OR (r.removed_at IS NOT NULL AND m.left_at IS NULL)
"""
TO_BE_SENT_THOUGH_CANCELLED = """
SELECT e.event_id, d.address FROM emails e JOIN deliveries d ON d.event_id = e.event_id
WHERE e.status = 'cancelled' AND d.status IN ('queued', 'claimed')
"""
NOT_MADE_THOUGH_FINISHED = """
SELECT e.event_id FROM emails e JOIN progress p ON p.event_id = e.event_id
WHERE (e.status = 'sent' OR (e.status = 'cancelled' AND e.finished_at IS NOT NULL)) AND (
    p.cursor_id < p.last_recipient_id OR p.deliveries <> p.sent + p.failed + p.unknown + p.cancelled)
"""
# Each sent delivery is counted once in its hour and once by its lateness.
MISCOUNTED_HOURS = """
SELECT h.sent, h.late, d.sent FROM (
    SELECT COALESCE(SUM(sent), 0) AS sent,
        COALESCE(SUM(late_1 + late_5 + late_15 + late_60 + late_300 + late_900 + late_3600 + late_over_3600), 0) AS late
    FROM hourly_stats) AS h, (SELECT COUNT(*) AS sent FROM deliveries WHERE status = 'sent') AS d
WHERE h.sent <> h.late OR h.sent <> d.sent
"""
HELD = "SELECT event_id, address FROM deliveries WHERE claimed_by IS NOT NULL OR status IN ('claimed', 'sending')"
FORGOTTEN = """
SELECT p.event_id, r.address FROM progress p JOIN recipients r ON r.recipient_id <= p.last_recipient_id
JOIN emails e ON e.event_id = p.event_id AND e.status <> 'cancelled'
WHERE r.status = 'active' AND r.removed_at IS NULL AND NOT EXISTS (
    SELECT 1 FROM deliveries d WHERE d.event_id = p.event_id AND d.recipient_id = r.recipient_id)
"""
HURRY = "UPDATE deliveries SET next_attempt_at = :now WHERE status = 'queued' AND next_attempt_at > :now"

Key = tuple[int, str]  # event_id, address


class Found(NamedTuple):
    """The result of a run. `lost` counts deliveries that are not failed, yet neither accepted nor in doubt."""

    statuses: Counter[str]
    in_doubt: int  # attempts
    doubled: int  # acceptances beyond the first
    lost: int


class Mailing(ForkingInstallation):
    """An installation with `recipients` recipients and, if there are any, an email to them that is due (event_id 1)."""

    def __init__(self, folder: Path, server: ScriptedServer, recipients: int, **settings: str) -> None:
        super().__init__(folder, **settings)
        self.move_to(server)
        if recipients:
            self.add_recipients(recipients)
            self.save_email(1, subject="1")

    def move_to(self, server: ScriptedServer) -> None:
        """Send to this server from now on."""
        self.server = server
        self.environment["EMAIL_URL"] = f"smtp://127.0.0.1:{server.port}"

    def finish(self, sweeps: int = 10) -> None:
        """Sweep as cron would, until nothing is left to do. Retries do not wait."""
        for _ in range(sweeps):
            with self.database() as database:
                hurry(database)
                if not database.has_work(int(time.time())):
                    return
            swept = self.task()
            assert swept.returncode == 0 or "unknown: " in swept.stderr, swept.stderr
        raise AssertionError(f"after {sweeps} sweeps there is still work: {self.statuses()}")

    def check(self, *, most_in_doubt: int) -> Found:
        """Check the database against what the server accepted."""
        with self.database() as database:
            return check(database, self.server.accepted, most_in_doubt=most_in_doubt)


def hurry(database: Database) -> None:
    """Make every waiting retry due now."""
    with database.connection.transaction():
        database.connection.execute(HURRY, now=int(time.time()))


def check_whole(database: Database) -> None:
    """Check what holds at any moment: each commit was applied completely or not at all."""
    rows = database.connection.fetch_all
    if isinstance(database.connection, SQLiteConnection):
        assert rows("PRAGMA integrity_check") == [("ok",)]
    assert rows(MISCOUNTED) == [], "progress does not match the deliveries"
    assert rows(COUNTED_WRONG) == [], "status_counts does not match the rows"
    assert rows(MISCOUNTED_HOURS) == [], "hourly_stats does not add up to what was sent"
    assert rows(MISCOUNTED_LISTS) == [], "lists.members does not match the memberships"
    assert rows(MEMBERS_REMOVED) == [], "a removed recipient is in a list"
    assert rows(NOT_MADE_THOUGH_FINISHED) == [], "finished before its last delivery"


def check(database: Database, accepted: Iterable[Accepted], *, most_in_doubt: int) -> Found:
    """Check every invariant once all sweeps have finished. `most_in_doubt` is the number of broken connections."""
    check_whole(database)
    rows = database.connection.fetch_all
    assert rows(HELD) == [], "still claimed after all senders have exited"
    assert rows(FORGOTTEN) == [], "recipients without a delivery"
    assert rows(TO_BE_SENT_THOUGH_CANCELLED) == [], "queued though the email was cancelled"
    assert rows("SELECT sender_id FROM senders") == [], "senders are still registered after they have exited"
    taken = Counter((event_id_of(message.content), message.recipient.decode()) for message in accepted)
    statuses: dict[Key, str] = {(event, address): status for event, address, status in rows(DELIVERIES)}
    doubts: dict[Key, int] = {(event, address): count for event, address, count in rows(DOUBTS)}
    assert set(taken) <= set(statuses), "sent to someone who is not a recipient"
    for key, status in statuses.items():
        _check_delivery(key, status, taken[key], doubts.get(key, 0))
    in_doubt = sum(doubts.values())
    assert in_doubt <= most_in_doubt, f"{in_doubt} in doubt, at most {most_in_doubt} allowed"
    return Found(
        statuses=Counter(statuses.values()),
        in_doubt=in_doubt,
        doubled=taken.total() - len(taken),
        lost=sum(not taken[key] and status != "failed" and key not in doubts for key, status in statuses.items()),
    )


def _check_delivery(key: Key, status: str, accepted: int, doubts: int) -> None:
    """Check that each acceptance was recorded as sent or in doubt, and that nothing else was."""
    about = f"{key} is {status}, was accepted {accepted} times and in doubt {doubts} times"
    assert status in ("sent", "failed", "unknown"), f"not finished: {about}"
    assert (status != "sent") or accepted >= 1, f"never accepted: {about}"
    assert status != "unknown" or doubts, f"unknown without a doubt: {about}"
    assert accepted <= (status == "sent") + doubts, f"doubled: {about}"


def event_id_of(content: bytes) -> int:
    """Return the event_id of a message. In these tests it is the subject."""
    (line,) = (line for line in content.splitlines() if line.startswith(b"Subject: "))
    return int(line.removeprefix(b"Subject: "))
