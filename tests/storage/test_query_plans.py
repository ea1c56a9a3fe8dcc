"""Every list and every action uses an index: no table scan, and no unbounded sort."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from database import Database, DeliveryUpdate
from settings import Settings, load_settings
from storage.sqlite.connection import SQLiteConnection
from tests.support.deliveries import EMAIL, NOON, NOW, address, addresses, ending, enter, failed, key, sent, start

Act = Callable[[Database], object]

TABLES = "emails|deliveries|recipients|progress|attempts|hourly_stats|[edpra]"
SCAN = re.compile(rf"\bSCAN ({TABLES})\b|Seq Scan on ({TABLES})\b")
SORT = re.compile(r"USE TEMP B-TREE FOR (ORDER|GROUP)|\bSort Key|Incremental Sort")
KEY = NOON - timedelta(hours=1), 3

LISTS: dict[str, Act] = {
    "deliveries": lambda database: database.deliveries.page(7, 1),
    "the next delivery": lambda database: database.deliveries.next_of(7),
    "deliveries sent": lambda database: database.deliveries.page(7, 1, status="sent"),
    "deliveries queued": lambda database: database.deliveries.page(7, 1, status="queued"),
    "deliveries cancelled": lambda database: database.deliveries.page(7, 1, status="cancelled"),
    "recipients": lambda database: database.recipients.page(1),
    "recipients active": lambda database: database.recipients.page(1, status="active"),
    "recipients unsubscribed": lambda database: database.recipients.page(1, status="unsubscribed"),
    "recipients searched": lambda database: database.recipients.page(1, address_begins="p"),
    "recipients searched anywhere": lambda database: database.recipients.page(1, address_contains="p"),
    "unsubscribed searched": lambda database: database.recipients.page(1, status="unsubscribed", address_begins="p"),
    "one recipient": lambda database: database.recipients.get(1),
    "one email": lambda database: database.emails.summary(7),
    "emails of a status": lambda database: database.emails.page(KEY, status="sent"),
    "emails of a status, backwards": lambda database: database.emails.page(KEY, status="held", newest_first=True),
    "emails with failures": lambda database: database.emails.page_with_failures(KEY),
    "next work": lambda database: database.next_work_at(),
    "due seconds": lambda database: database.progress.next_due_seconds(NOW, 9),
    "interrupted cancels": lambda database: database.emails.finish_cancels(NOON),
    "cancel": lambda database: database.emails.cancel(7, NOON),
    "cancel what was not begun": lambda database: database.emails.cancel(8, NOON),
    "release": lambda database: database.emails.release(9, NOON),
    "replace": lambda database: database.emails.replace(EMAIL._replace(event_id=8, subject="B"), NOON),
    "reschedule": lambda database: database.emails.reschedule(8, NOON, NOON),
    "compare": lambda database: database.emails.compare(EMAIL._replace(subject="B")),
    "save many": lambda database: database.emails.save_many([EMAIL], NOON),
    "retry": lambda database: database.deliveries.retry(7, NOON),
    "reactivate the rejected": lambda database: database.deliveries.reactivate_rejected(7),
    "standings of some": lambda database: database.deliveries.standings(7, [2, 3]),
    "decide": lambda database: database.deliveries.decide(7, 3, "failed", NOON),
    "decide each": lambda database: database.deliveries.decide_each(7, "failed", NOON),
    "second bounce": lambda database: database.recipients.record_hard_bounce(2, 7, NOW),
    "reactivate": lambda database: database.recipients.reactivate(addresses(1)[0]),
    "unsubscribe": lambda database: database.recipients.unsubscribe(2, NOON),
    "hours": lambda database: database.health.hours(NOON),
    "claim": lambda database: database.claims.claim(1, 0, NOW, 9),
    "begin": lambda database: database.progress.start_due_emails(NOW),
    "undo": lambda database: database.imports.undo_some(1, NOON),
}
# These sort only a little: a page per status, one window, the claims of senders, the attempts of one delivery, parts of
# a count.
SORTED: dict[str, Act] = {
    "emails": lambda database: database.emails.page(KEY),
    "emails, backwards": lambda database: database.emails.page(KEY, newest_first=True),
    "counts": lambda database: (database.emails.counts(), database.recipients.counts()),
    "deliveries failed": lambda database: database.deliveries.page(7, 1, status="failed"),
    "deliveries sending": lambda database: database.deliveries.page(7, 1, status="sending"),
    "standings": lambda database: database.deliveries.standings(7),
    "reasons": lambda database: database.deliveries.reasons(7),
    "attempts": lambda database: database.deliveries.attempts(7, 2),
    "history": lambda database: database.recipients.deliveries(1, KEY),
}


class Recorder:
    """Wraps the driver's connection, and records the plan of every statement."""

    def __init__(self, real: Any, explain: str) -> None:
        self._real = real
        self._explain = explain
        self.plans: dict[str, str] = {}

    def execute(self, sql: str, values: Any = (), **options: Any) -> Any:
        self._note(sql, values)
        return self._real.execute(sql, values, **options)

    def executemany(self, sql: str, rows: Sequence[Any]) -> Any:
        rows = list(rows)
        self._note(sql, rows[0])
        return self._real.executemany(sql, rows)

    def _note(self, sql: str, values: Any) -> None:
        if sql.split()[0] in ("SELECT", "INSERT", "UPDATE", "DELETE", "WITH"):
            rows = self._real.execute(self._explain + sql, values).fetchall()
            self.plans[sql] = "\n".join(str(row[-1]) for row in rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def plans_of(database: Database, act: Act) -> dict[str, str]:
    connection: Any = database.connection
    explain = "EXPLAIN QUERY PLAN " if isinstance(connection, SQLiteConnection) else "EXPLAIN "
    recorder = connection._connection = Recorder(connection._connection, explain)
    act(database)
    assert recorder.plans
    return recorder.plans


@pytest.fixture
def settings(where: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings(where, tmp_path)


@pytest.fixture
def filled(database: Database) -> Database:
    """Return an installation in which email 7 has a delivery in each state, 8 is scheduled, and 9 is held."""
    start(database, 30)
    sender_id = enter(database)
    claims = database.claims.claim(sender_id, 0, NOW, 8)
    later = DeliveryUpdate(*key(claims[3]), "deferred", "queued", "450 later", NOW, NOW + 300)
    unknown = DeliveryUpdate(*key(claims[2]), "in_doubt", "unknown", "the connection broke", NOW)
    ends = [ending(claims[0], sender_id), ending(claims[4], sender_id)]
    database.deliveries.record(sender_id, [], [failed(claims[1]), unknown, later], ends)
    database.deliveries.record(sender_id, [sent(claims[0], sender_id)], [], [])
    database.recipients.remove([address(claims[6])], NOON)
    for number in (8, 9):
        database.emails.save(EMAIL._replace(event_id=number), NOON)
    database.connection.execute("UPDATE emails SET status = 'held' WHERE event_id = 9")
    import_id = database.imports.create("people.csv", [], NOON)
    database.connection.execute(
        "UPDATE imports SET status = 'undoing', last_id = 30 WHERE import_id = :id", id=import_id
    )
    return database


@pytest.mark.parametrize("act", LISTS)
def test_nothing_is_scanned_and_nothing_sorted(filled: Database, act: str) -> None:
    for sql, plan in plans_of(filled, LISTS[act]).items():
        assert not SCAN.search(plan), f"{sql}\n{plan}"
        assert not SORT.search(plan), f"{sql}\n{plan}"


def test_cancelled_emails_that_are_finished_cost_a_sweep_nothing(filled: Database) -> None:
    for act in (LISTS["interrupted cancels"], LISTS["next work"]):
        assert any("emails_cancelling" in plan for plan in plans_of(filled, act).values())


@pytest.mark.parametrize("act", SORTED)
def test_nothing_is_scanned_and_only_a_little_sorted(filled: Database, act: str) -> None:
    for sql, plan in plans_of(filled, SORTED[act]).items():
        assert not SCAN.search(plan), f"{sql}\n{plan}"
