"""A removal takes effect at once, and for a short time it can be undone without a trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from database import Address, Audience, Database, NoSuchRemoval, Recipient, db_init, open_database
from settings import load_settings
from storage.recipients.removals import RESTORABLE_SECONDS
from tests.support.deliveries import EMAIL, NOON, NOW, addresses, ending, enter, send_all, start

LATER = NOON + timedelta(seconds=5)
TOO_LATE = NOON + timedelta(seconds=RESTORABLE_SECONDS + 1)
P1 = addresses(2)[1]


@pytest.fixture
def filled(where: dict[str, str], tmp_path: Path) -> Iterator[Database]:
    """Return a database with the recipients 1 to 3; number 2 is in two lists and has a field."""
    settings = load_settings({"DATABASE_URL": f"sqlite:///{tmp_path}/email.db", **where}, tmp_path)
    db_init(settings, NOON)
    with open_database(settings) as database:
        database.recipients.add([Address(each.text, each.key) for each in addresses(3)], NOON, "page")
        for name in ("a", "b"):
            database.lists.add(name, NOON)
            database.lists.add_members(name, addresses(3), NOON, "page")
        execute(database, "UPDATE recipients SET fields = :fields WHERE recipient_id = 2", fields='{"name": "Ada"}')
        yield database


def execute(database: Database, sql: str, **values: object) -> None:
    with database.connection.transaction():
        database.connection.execute(sql, **values)


def everything(database: Database) -> object:
    """Return every row about recipients and lists."""
    tables = {
        "recipients": "recipient_id, address, address_key, status, created_at, removed_at, bounced_event_id, fields",
        "memberships": "list_id, recipient_id, joined_at, left_at, added_by",
        "lists": "list_id, name, members",
        "status_counts": "entity, status, total",
        "deliveries": "event_id, recipient_id, status, finished_at, queued_at",
        "progress": "event_id, deliveries, cancelled",
    }
    found = {name: database.connection.fetch_all(f"SELECT {columns} FROM {name}") for name, columns in tables.items()}
    return {
        name: sorted((row for row in rows if row[-1] != 0 or name != "status_counts"), key=repr)
        for name, rows in found.items()
    }


def remove(database: Database, *numbers: int, now: datetime = NOON) -> int:
    removal = database.recipients.remove_undoably(numbers, now)
    assert removal.removed == len(numbers)
    return removal.removal_id


def recipient(database: Database, number: int = 2) -> Recipient | None:
    return database.recipients.get(number)


@pytest.mark.parametrize("status", ["active", "rejected", "unsubscribed"])
def test_it_takes_effect_at_once_and_is_undone_without_a_trace(filled: Database, status: str) -> None:
    sql = "UPDATE recipients SET status = :status, bounced_event_id = 7 WHERE recipient_id = 2"
    execute(filled, sql, status=status)
    before = everything(filled)
    number = remove(filled, 2)
    assert recipient(filled) is None and filled.recipients.find(P1) is None
    assert [each.recipient_id for each in filled.recipients.page()] == [1, 3]
    assert [each.members for each in filled.lists.page()] == [2, 2]
    assert filled.recipients.undo_removal(number, LATER) == (1, 0)
    assert everything(filled) == before


def test_several_are_removed_and_restored_together(filled: Database) -> None:
    before = everything(filled)
    number = remove(filled, 3, 1)
    assert [each.recipient_id for each in filled.recipients.page()] == [2]
    assert filled.recipients.remove_undoably([1, 9], NOON).removed == 0
    assert filled.recipients.undo_removal(number, LATER) == (2, 0)
    assert everything(filled) == before


def test_it_is_undone_once_and_not_too_late(filled: Database) -> None:
    number = remove(filled, 2)
    with pytest.raises(NoSuchRemoval):
        filled.recipients.undo_removal(number, TOO_LATE)
    filled.recipients.undo_removal(number, LATER)
    for other in (number, 99):
        with pytest.raises(NoSuchRemoval):
            filled.recipients.undo_removal(other, LATER)


def test_once_it_is_too_late_nothing_is_kept(filled: Database) -> None:
    remove(filled, 2)
    filled.recipients.forget_removals(LATER)
    sql = "SELECT (SELECT COUNT(*) FROM removals), (SELECT COUNT(*) FROM recipients)"
    assert filled.connection.fetch_one(sql) == (1, 3)
    filled.recipients.forget_removals(TOO_LATE)
    assert filled.connection.fetch_one(sql) == (0, 2)


def test_the_next_removal_forgets_those_before_it_but_no_decision(filled: Database) -> None:
    filled.recipients.unsubscribe(2, NOON)
    filled.lists.leave(3, [1], NOON)
    remove(filled, 1, 2, 3)
    filled.recipients.remove_undoably([9], TOO_LATE)
    kept = filled.connection.fetch_all("SELECT recipient_id, status FROM recipients ORDER BY recipient_id")
    assert kept == [(2, "unsubscribed"), (3, "active")]


def test_what_a_recipient_decides_in_between_is_not_undone(filled: Database) -> None:
    number = remove(filled, 2, 3)
    filled.lists.leave(2, [1], LATER)
    filled.recipients.unsubscribe(3, LATER)
    filled.recipients.undo_removal(number, LATER)
    assert [(each.list.name, each.left_at is not None) for each in filled.lists.lists_of(2)] == [
        ("a", True),
        ("b", False),
    ]
    third = recipient(filled, 3)
    assert third is not None and third.status == "unsubscribed"
    assert [each.members for each in filled.lists.page()] == [2, 3]


def test_a_recipient_who_was_added_again_in_between_keeps_what_is_new(filled: Database) -> None:
    number = remove(filled, 2)
    filled.recipients.add([Address(P1.text, P1.key)], LATER)
    execute(filled, "UPDATE recipients SET fields = :fields WHERE recipient_id = 2", fields='{"name": "New"}')
    filled.recipients.undo_removal(number, LATER)
    found = recipient(filled)
    assert found is not None and found.fields == {"name": "New"}
    assert [each.members for each in filled.lists.page()] == [3, 3]


def test_a_list_that_was_deleted_in_between_stays_empty(filled: Database) -> None:
    number = remove(filled, 2)
    filled.lists.delete("a", LATER)
    filled.recipients.undo_removal(number, LATER)
    assert [each.list.name for each in filled.lists.lists_of(2)] == ["b"]
    filled.lists.add("a", LATER)
    assert [each.members for each in filled.lists.page()] == [0, 3]


class TestDeliveries:
    """An email to everyone was started; all deliveries exist, and one sender has claimed or sent some."""

    @pytest.fixture
    def started(self, filled: Database) -> Database:
        start(filled)
        self.sender_id = enter(filled)
        return filled

    def status(self, database: Database, number: int = 2) -> str | None:
        row = database.connection.fetch_one("SELECT status FROM deliveries WHERE recipient_id = :number", number=number)
        return None if row is None else str(row[0])

    def test_nothing_is_sent_in_between_and_then_the_message_goes_out(self, started: Database) -> None:
        started.claims.claim(self.sender_id, 0, NOW, 10)
        started.deliveries.release_all(self.sender_id)
        number = remove(started, 2)
        send_all(started, self.sender_id)
        summary = started.emails.summary(EMAIL.event_id)
        assert summary is not None and (summary.status, summary.sent, summary.cancelled) == ("sent", 2, 1)
        assert started.recipients.undo_removal(number, LATER) == (1, 0)
        assert self.status(started) == "queued" and started.has_work(NOW)
        send_all(started, self.sender_id)
        summary = started.emails.summary(EMAIL.event_id)
        assert summary is not None and (summary.status, summary.sent, summary.cancelled) == ("sent", 3, 0)

    def test_what_a_sender_had_claimed_stays_cancelled(self, started: Database) -> None:
        """The sender still has it in memory, and would send it twice if it were queued again."""
        claimed = started.claims.claim(self.sender_id, 0, NOW, 10)
        number = remove(started, 2)
        assert started.recipients.undo_removal(number, LATER) == (1, 1)
        assert self.status(started) == "cancelled"
        intents = [ending(claim, self.sender_id) for claim in claimed]
        assert [each[1] for each in started.deliveries.record(self.sender_id, [], [], intents)] == [1, 3]

    def test_of_an_email_that_was_cancelled_in_between_nothing_is_queued(self, started: Database) -> None:
        started.claims.claim(self.sender_id, 0, NOW, 10)
        started.deliveries.release_all(self.sender_id)
        number = remove(started, 2)
        started.emails.cancel(EMAIL.event_id, LATER)
        assert started.recipients.undo_removal(number, LATER) == (1, 1)
        assert self.status(started) == "cancelled"

    def test_an_email_that_starts_in_between_goes_to_the_others_only(self, started: Database) -> None:
        number = remove(started, 2)
        started.emails.save(EMAIL._replace(event_id=8, audience=Audience(("a",))), NOON)
        started.progress.start_due_emails(NOW)
        send_all(started, self.sender_id)
        started.recipients.undo_removal(number, LATER)
        send_all(started, self.sender_id)
        found = started.connection.fetch_all("SELECT recipient_id FROM deliveries WHERE event_id = 8 ORDER BY 1")
        assert found == [(1,), (3,)]
        summary = started.emails.summary(8)
        assert summary is not None and summary.status == "sent"


def test_the_record_is_plain_json(filled: Database) -> None:
    remove(filled, 2)
    ((content,),) = filled.connection.fetch_all("SELECT content FROM removals")
    assert json.loads(content)["recipients"] == [[2, "active", None, 1, '{"name": "Ada"}']]
