"""Every list and every action uses an index: no table scan, and no unbounded sort."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from database import Audience, Database, DeliveryUpdate, Word, open_database
from settings import load_settings
from storage.search.postings import CHUNK_SIZE
from storage.sqlite.connection import SQLiteConnection
from tests.support import new_database
from tests.support.deliveries import EMAIL, NOON, NOW, address, addresses, ending, enter, failed, key, sent, start
from tests.support.servers.postgresql_server import PostgreSQLServer

Act = Callable[[Database], object]

TABLES = (
    "emails|deliveries|recipients|progress|attempts|hourly_stats|memberships|audiences|named_recipients|"
    "search_chunks|search_postings|[adelmnprx]"
)
SCAN = re.compile(rf"\bSCAN ({TABLES})\b|Seq Scan on ({TABLES})\b")
SORT = re.compile(r"USE TEMP B-TREE FOR (ORDER|GROUP)|\bSort Key|Incremental Sort")
ADA = Word("ada", "ada")
KEY = NOON - timedelta(hours=1), 3

TO_LISTS = EMAIL._replace(event_id=20, audience=Audience(("a", "b"), ("c",)))
TO_NAMES = EMAIL._replace(event_id=23, audience=Audience(to=tuple(addresses(3))))
SOME = [
    TO_LISTS,
    EMAIL._replace(event_id=21, audience=Audience(("a",))),
    EMAIL._replace(event_id=22, audience=Audience((), ("a",))),
    TO_NAMES,
]

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
    "recipients of a domain": lambda database: database.recipients.page(1, domain="example.com"),
    "recipients of a list": lambda database: database.recipients.page(1, list_name="a"),
    "recipients found": lambda database: database.recipients.page(1, words=[ADA]),
    "recipients found by one character": lambda database: database.recipients.page(1, words=[Word("p", "p")]),
    "recipients found in a list": lambda database: database.recipients.page(1, words=[ADA], list_name="a"),
    "rejected found": lambda database: database.recipients.page(1, words=[ADA], status="rejected"),
    "rejected in a list": lambda database: database.recipients.page(1, list_name="a", status="rejected"),
    "members found": lambda database: database.lists.members("a", words=[ADA]),
    "update of the search index": lambda database: database.search_index.update(),
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
    "lists": lambda database: database.lists.page("a", archived=False),
    "one list": lambda database: database.lists.get("a"),
    "members": lambda database: database.lists.members("a", 1),
    "lists of a recipient": lambda database: database.lists.lists_of(3),
    "add a list": lambda database: database.lists.add("new", NOON),
    "rename a list": lambda database: database.lists.rename("a", "new", NOON),
    "archive a list": lambda database: database.lists.archive("a", NOON),
    "remove a member": lambda database: database.lists.remove_member("a", addresses(4)[3], NOON),
    "leave": lambda database: database.lists.leave(4, [1, 2], NOON),
    "remove": lambda database: database.recipients.remove(addresses(6), NOON),
    "delete a list": lambda database: database.lists.delete("b", NOON),
    "save for lists": lambda database: database.emails.save(TO_LISTS._replace(event_id=30), NOON),
    "save for names": lambda database: database.emails.save(TO_NAMES._replace(event_id=30), NOON),
    "replace by lists": lambda database: database.emails.replace(TO_LISTS._replace(event_id=8), NOON),
    "compare lists": lambda database: database.emails.compare(TO_LISTS),
    "text for a list": lambda database: database.emails.text_to_send(20),
    "undo": lambda database: database.imports.undo_some(1, NOON),
}
# These sort only a little: a page per status, one window, a batch of new members, the claims of senders, the attempts
# of one delivery, parts of a count.
SORTED: dict[str, Act] = {
    "emails": lambda database: database.emails.page(KEY),
    "emails found": lambda database: database.emails.search(["a"], KEY),
    "emails found, backwards": lambda database: database.emails.search(["a"], KEY, newest_first=True),
    "emails of a status found": lambda database: database.emails.search(["a"], KEY, status="held"),
    "emails with failures found": lambda database: database.emails.search(["a"], KEY, with_failures=True),
    "emails, backwards": lambda database: database.emails.page(KEY, newest_first=True),
    "counts": lambda database: (database.emails.counts(), database.recipients.counts()),
    "deliveries failed": lambda database: database.deliveries.page(7, 1, status="failed"),
    "deliveries sending": lambda database: database.deliveries.page(7, 1, status="sending"),
    "standings": lambda database: database.deliveries.standings(7),
    "reasons": lambda database: database.deliveries.reasons(7),
    "attempts": lambda database: database.deliveries.attempts(7, 2),
    "add members": lambda database: database.lists.add_members("a", addresses(2), NOON, "page"),
    "replace members": lambda database: database.lists.replace_members("a", addresses(2), NOON, "page"),
    "count one list": lambda database: database.audiences.count(Audience(("a",))),
    "count lists": lambda database: database.audiences.count(Audience(("a", "b"), ("c",))),
    "count everyone but": lambda database: database.audiences.count(Audience((), ("a", "b"))),
    "claim of lists": lambda database: database.claims.claim(1, 19, NOW, 5),
    "begin for lists": lambda database: (
        database.emails.save_many([each._replace(event_id=each.event_id + 10) for each in SOME], NOON),
        database.progress.start_due_emails(NOW),
    ),
    "claim of one list": lambda database: database.claims.claim(1, 20, NOW, 5),
    "claim of names": lambda database: database.claims.claim(1, 22, NOW, 5),
    "claim of everyone but": lambda database: database.claims.claim(1, 21, NOW, 5),
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
        for row in rows[:1]:
            self._note(sql, row)
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


@pytest.fixture(params=["sqlite", "postgresql"])
def filled(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An installation that `fill` has filled. On PostgreSQL, it is a copy of one that was filled before."""
    if request.param == "sqlite":
        settings = load_settings({}, tmp_path)
        new_database.create(settings, datetime.now(UTC))
        with open_database(settings) as database:
            fill(database)
            yield database
        return
    server: PostgreSQLServer = request.getfixturevalue("postgresql")
    url = server.new_database(_filled_template(server))
    with open_database(load_settings({"DATABASE_URL": url}, tmp_path)) as database:
        yield database
    server.drop(url)


@cache
def _filled_template(server: PostgreSQLServer) -> str:
    """Return the name of a database that `fill` has filled, and nobody is connected to."""
    url = new_database.ready_database(server)
    settings = load_settings({"DATABASE_URL": url}, Path())
    new_database.create(settings, datetime.now(UTC))
    with open_database(settings) as database:
        fill(database)
    return url.rpartition("/")[2]


def fill(database: Database) -> None:
    """Give email 7 a delivery in each state, schedule email 8, and hold email 9."""
    start(database, 30)
    sender_id = enter(database)
    claims = database.claims.claim(sender_id, 0, NOW, 8)
    later = DeliveryUpdate(*key(claims[3]), "deferred", "queued", "450 later", NOW, NOW + 300)
    unknown = DeliveryUpdate(*key(claims[2]), "in_doubt", "unknown", "the connection broke", NOW)
    ends = [ending(claims[0], sender_id), ending(claims[4], sender_id)]
    database.deliveries.record(sender_id, [], [failed(claims[1]), unknown, later], ends)
    database.deliveries.record(sender_id, [sent(claims[0], sender_id)], [], [])
    database.recipients.remove([address(claims[6])], NOON)
    for name, count in (("a", 20), ("b", 25), ("c", 3)):
        database.lists.add(name, NOON)
        database.lists.add_members(name, addresses(count), NOON, "page")
    database.emails.save_many(SOME, NOON)
    assert not any(started.held_because for started in database.progress.start_due_emails(NOW))
    for number in (8, 9):
        database.emails.save(EMAIL._replace(event_id=number), NOON)
    database.connection.execute("UPDATE emails SET status = 'held' WHERE event_id = 9")
    import_id = database.imports.create("people.csv", [], NOON)
    database.connection.execute(
        "UPDATE imports SET status = 'undoing', last_id = 30 WHERE import_id = :id", id=import_id
    )


@pytest.mark.parametrize("act", [act for act in LISTS if "found" in act or "index" in act])
def test_nothing_is_scanned_if_recipients_are_indexed(filled: Database, act: str) -> None:
    filled.connection.execute("UPDATE counters SET value = :value WHERE name = 'recipient_id'", value=3 * CHUNK_SIZE)
    if act != "update of the search index":
        assert filled.search_index.update() == 3
    filled.connection.execute("UPDATE lists SET members = 100000")
    plans = plans_of(filled, LISTS[act])
    assert any("search_chunks" in sql for sql in plans)
    for sql, plan in plans.items():
        assert not SCAN.search(plan), f"{sql}\n{plan}"
        assert not SORT.search(plan), f"{sql}\n{plan}"


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
