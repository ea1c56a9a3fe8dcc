"""The N-th statement of a sweep on PostgreSQL fails at the server, for N = 1, 2, 3, … until none does."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import pytest

import sender.work_queue
import storage.postgresql.connection
import storage.postgresql.pipeline
import storage.postgresql.sql
from sender.work_queue import DeliveryQueue
from storage.postgresql.connection import PostgreSQLConnection
from tests.support.in_process import sweep_once
from tests.support.invariants import Mailing, check
from tests.support.servers.postgresql_server import PostgreSQLServer
from tests.support.servers.smtp_server import ScriptedServer

T = TypeVar("T")
MESSAGES, CONNECTIONS, CLAIMED_AT_ONCE, RENEWED_EVERY = 4, 2, 3, 3
FAULTS = {
    "a deadlock": "DO $$ BEGIN RAISE EXCEPTION 'this was made to fail' USING ERRCODE = '40P01'; END $$",
    "the connection is terminated": "SELECT pg_terminate_backend(pg_backend_pid())",
}


class Faults:
    """Replaces statement `number` with one that fails. Leases are renewed at every third poll."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, statement: str) -> None:
        self.number = self.calls = 0
        self.looks = itertools.count()
        self._statement = statement
        monkeypatch.setattr(sender.work_queue, "RENEW_SECONDS", 0)
        renew_lease = DeliveryQueue.renew_lease
        monkeypatch.setattr(
            DeliveryQueue, "renew_lease", lambda queue: None if next(self.looks) % RENEWED_EVERY else renew_lease(queue)
        )
        execute, for_psycopg = PostgreSQLConnection._execute, storage.postgresql.sql.for_psycopg
        for_libpq = storage.postgresql.pipeline._for_libpq
        monkeypatch.setattr(
            PostgreSQLConnection,
            "_execute",
            lambda connection, sql, values: execute(connection, *(self._due() or (sql, values))),
        )
        monkeypatch.setattr(
            storage.postgresql.connection, "for_psycopg", lambda *each: self._due() or for_psycopg(*each)
        )
        monkeypatch.setattr(
            storage.postgresql.pipeline,
            "_for_libpq",
            lambda statement: (self._statement, []) if self._due() else for_libpq(statement),
        )

    @property
    def happened(self) -> bool:
        return 0 < self.number <= self.calls

    def begin(self, number: int) -> Callable[[T], T]:
        """Return a function that starts the faults. Call it once the database is open."""
        self.number = 0

        def at_work(connection: T) -> T:
            self.number, self.calls = number, 0
            self.looks = itertools.count()
            return connection

        return at_work

    def _due(self) -> tuple[str, None] | None:
        self.calls += 1
        return (self._statement, None) if self.calls == self.number else None


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove all pauses, and make batches of claims small."""
    impatient = SimpleNamespace(monotonic=time.monotonic, time=time.time, sleep=lambda seconds: None)
    monkeypatch.setattr(sender.work_queue, "time", impatient)
    monkeypatch.setattr("delivery.smtp.loop.INITIAL_BATCH_SIZE", CLAIMED_AT_ONCE)
    monkeypatch.setattr("delivery.smtp.loop.MAX_BATCH_SIZE", CLAIMED_AT_ONCE)


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_statement_that_fails_at_the_server_loses_nothing_and_doubles_nothing(
    fault: str, postgresql: PostgreSQLServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = Faults(monkeypatch, FAULTS[fault])
    mailing = Mailing(tmp_path, ScriptedServer(), MESSAGES, **settings(postgresql))
    with mailing.server as server, mailing.database() as database:
        for event_id in itertools.count(2):
            sweep_once(mailing, faults.begin(event_id - 1))
            happened = faults.happened
            errors = sweep_once(mailing, faults.begin(0))
            found = check(database, server.accepted, most_in_doubt=0)
            assert (found.statuses, found.doubled, errors) == ({"sent": MESSAGES * (event_id - 1)}, 0, []), event_id
            if not happened:
                break
            mailing.save_into(database, event_id, -1, subject=f"{event_id}")
    print(f"{event_id - 2} statements")
    assert event_id > 40
    # A line is written before this is recorded, so it may appear twice, as after a crash.
    assert {line for line in mailing.log() if not line.startswith("ERROR")} == set(map(str, range(1, event_id)))


def settings(postgresql: PostgreSQLServer) -> dict[str, str]:
    return {"DATABASE_URL": postgresql.new_database(), "SMTP_CONNECTIONS": str(CONNECTIONS)}
