"""A recipient leaves a list, or is removed from it, while emails to it wait or are being sent; on both engines."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from database import (
    Audience,
    Database,
    DeliveryUpdate,
    NoActiveRecipients,
    copy_database,
    open_database,
)
from settings import Settings, load_settings
from tests.support import new_database
from tests.support.deliveries import EMAIL, NOON, NOW, ending, enter, failed, key, sent, status
from tests.support.invariants import check_whole
from tests.support.people import LATER, leave, people, recipient_id

ANY_WAITING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

Act = Callable[[Database], object]


def statuses(database: Database, event_id: int = 7) -> dict[str, str]:
    return {row.address.partition("@")[0]: row.status for row in database.deliveries.page(event_id).rows}


def claim(database: Database, limit: int = 100) -> tuple[int, dict[str, tuple[int, int, str]]]:
    """Claim deliveries as a new sender. Return its sender_id, and the claims by name."""
    sender_id = enter(database)
    claims = database.claims.claim(sender_id, 0, NOW, limit)
    return sender_id, {claim[2].partition("@")[0]: claim for claim in claims}


@pytest.fixture
def sending(database: Database) -> Database:
    """Email 7 goes to the lists a (ada, bob, eve) and b (bob, ina), and has been started."""
    for name, members in (("a", ("ada", "bob", "eve")), ("b", ("bob", "ina")), ("c", ("eve",))):
        database.lists.add(name, NOON)
        database.lists.add_members(name, people(*members), NOON, "import 1")
    database.emails.save(EMAIL._replace(audience=Audience(("a", "b"))), NOON)
    assert not any(started.held_because for started in database.progress.start_due_emails(NOW))
    return database


LEAVING: dict[str, Act] = {
    "leaves": lambda database: leave(database, "ada", "a"),
    "leaves all lists": lambda database: leave(database, "ada", "a", "b", "c"),
    "is removed from the list": lambda database: database.lists.remove_member("A", people("ada")[0], LATER),
    "is replaced": lambda database: database.lists.replace_members("a", people("bob", "eve"), LATER, "program"),
    "is removed": lambda database: database.recipients.remove(people("ada"), LATER),
    "unsubscribes": lambda database: database.recipients.unsubscribe(recipient_id(database, "ada"), LATER),
}


@pytest.mark.parametrize("how", LEAVING)
class TestLeaving:
    def test_before_the_delivery_exists(self, sending: Database, how: str) -> None:
        LEAVING[how](sending)
        _, claims = claim(sending)
        assert sorted(claims) == ["bob", "eve", "ina"]

    def test_between_the_claim_and_the_final_dot(self, sending: Database, how: str) -> None:
        sender_id, claims = claim(sending)
        LEAVING[how](sending)
        intents = [ending(each, sender_id) for each in claims.values()]
        cleared = sending.deliveries.record(sender_id, [], [], intents)
        assert set(intents) - set(cleared) == {ending(claims["ada"], sender_id)}
        assert statuses(sending)["ada"] == "cancelled"

    def test_after_the_final_dot(self, sending: Database, how: str) -> None:
        sender_id, claims = claim(sending)
        sending.deliveries.record(sender_id, [], [], [ending(claims["ada"], sender_id)])
        LEAVING[how](sending)
        sending.deliveries.record(sender_id, [sent(claims["ada"], sender_id)], [], [])
        assert statuses(sending)["ada"] == "sent"

    def test_there_is_no_further_attempt(self, sending: Database, how: str) -> None:
        sender_id, claims = claim(sending)
        sending.deliveries.record(sender_id, [], [], [ending(claims["ada"], sender_id)])
        LEAVING[how](sending)
        later = DeliveryUpdate(*key(claims["ada"]), "deferred", "queued", "450 later", NOW, NOW)
        sending.deliveries.record(sender_id, [], [later], [])
        assert statuses(sending)["ada"] == "cancelled"

    def test_while_the_delivery_waits_for_another_attempt(self, sending: Database, how: str) -> None:
        sender_id, claims = claim(sending)
        updates = [
            DeliveryUpdate(*key(each), "deferred", "queued", "450 later", NOW, NOW + 60) for each in claims.values()
        ]
        sending.deliveries.record(sender_id, [], updates, [])
        LEAVING[how](sending)
        assert statuses(sending) == {"ada": "cancelled", "bob": "queued", "eve": "queued", "ina": "queued"}

    def test_a_failed_delivery_is_not_retried(self, sending: Database, how: str) -> None:
        sender_id, claims = claim(sending)
        sending.deliveries.record(sender_id, [], [failed(each) for each in claims.values()], [])
        assert status(sending) == "sent"
        LEAVING[how](sending)
        standing = {"is removed": "removed", "unsubscribes": "unsubscribed"}.get(how, "left")
        for only in (None, [recipient_id(sending, "bob"), claims["ada"][1]]):
            standings = sending.deliveries.standings(7, only)
            assert standings.blocked("failed") == {standing: 1}
            assert standings.retryable("failed") == (3 if only is None else 1)
        assert sending.deliveries.retry(7, NOON) == 3
        assert statuses(sending)["ada"] == "failed"


class TestStaying:
    def test_another_list_of_the_email_still_holds_them(self, sending: Database) -> None:
        sender_id, claims = claim(sending)
        later = DeliveryUpdate(*key(claims["bob"]), "deferred", "queued", "450 later", NOW, NOW)
        sending.deliveries.record(sender_id, [], [later], [])
        leave(sending, "bob", "a")
        assert statuses(sending)["bob"] == "queued"
        sending.lists.remove_member("b", people("bob")[0], LATER)
        assert statuses(sending)["bob"] == "cancelled"

    def test_leaving_a_list_that_the_email_does_not_go_to_changes_nothing(self, sending: Database) -> None:
        sending.emails.save(EMAIL._replace(event_id=8, audience=Audience((), ("b",))), NOON)
        sending.emails.save(EMAIL._replace(event_id=9, audience=Audience(to=people("eve"))), NOON)
        sending.progress.start_due_emails(NOW)
        _, _claims = claim(sending)
        leave(sending, "eve", "c")
        leave(sending, "ina", "b")
        assert statuses(sending) == {"ada": "claimed", "bob": "claimed", "eve": "claimed", "ina": "cancelled"}
        assert statuses(sending, 8) == {"ada": "claimed", "eve": "claimed"}
        assert statuses(sending, 9) == {"eve": "claimed"}

    def test_an_email_is_finished_when_its_last_recipient_leaves(self, sending: Database) -> None:
        sender_id, _claims = claim(sending)
        assert sending.claims.claim(sender_id, 0, NOW, 100) == []
        for name in ("ada", "eve"):
            leave(sending, name, "a")
        sending.lists.replace_members("b", [], LATER, "page")
        sending.lists.replace_members("a", [], LATER, "page")
        assert set(statuses(sending).values()) == {"cancelled"}
        assert status(sending) == "sent"


class TestDeletingAList:
    def test_before_everyone_has_a_delivery_the_email_is_held(self, sending: Database) -> None:
        sender_id, claims = claim(sending, 2)
        assert sorted(claims) == ["ada", "bob"]
        sending.lists.delete("a", LATER)
        assert statuses(sending) == {"ada": "cancelled", "bob": "claimed"}
        summary = sending.emails.summary(7)
        assert summary is not None
        assert (summary.status, summary.held_because) == ("held", 'its list "a" was deleted')
        assert sending.claims.claim(sender_id, 0, NOW, 100) == []
        assert not sending.has_work(NOW)
        with pytest.raises(NoActiveRecipients, match='its list "a" was deleted'):
            sending.emails.release(7, LATER)
        sending.lists.add("a", LATER)
        assert sending.emails.release(7, LATER) == "sending"
        assert [each[2] for each in sending.claims.claim(sender_id, 0, NOW, 100)] == ["ina@example.com"]

    def test_an_excluded_list_holds_the_email_before_anyone_else_gets_it(self, sending: Database) -> None:
        sending.emails.save(EMAIL._replace(event_id=8, audience=Audience(("a",), ("c",))), NOON)
        sending.progress.start_due_emails(NOW)
        sending.emails.cancel(7, NOON)
        sender_id, claims = claim(sending, 1)
        assert sorted(claims) == ["ada"]
        sending.lists.delete("c", LATER)
        assert sending.claims.claim(sender_id, 0, NOW, 100) == []
        assert (status(sending, 8), statuses(sending, 8)) == ("held", {"ada": "claimed"})

    def test_after_everyone_has_a_delivery_it_goes_on(self, sending: Database) -> None:
        sender_id, _claims = claim(sending)
        assert sending.claims.claim(sender_id, 0, NOW, 100) == []
        sending.lists.delete("a", LATER)
        assert status(sending) == "sending"
        assert statuses(sending) == {"ada": "cancelled", "bob": "claimed", "eve": "cancelled", "ina": "claimed"}

    def test_if_the_process_dies_before_the_emails_are_held_senders_hold_them(
        self, sending: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sending.emails.save(EMAIL._replace(event_id=8, audience=Audience((), ("a",))), NOON)
        monkeypatch.setattr(sending.lists, "_hold_waiting", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            sending.lists.delete("a", LATER)
        ((_, reason),) = sending.progress.start_due_emails(NOW)
        assert reason == 'the list "a", which is excluded, was deleted'
        _, claims = claim(sending)
        assert not claims
        assert (status(sending), status(sending, 8)) == ("held", "held")


class TestRemoving:
    def test_those_who_left_a_list_stay_out_of_it_although_they_were_removed(self, sending: Database) -> None:
        leave(sending, "ada", "a")
        for name in ("ada", "eve"):
            assert sending.recipients.remove(people(name), LATER) == 1
        assert sending.lists.require("a").members == 1
        assert sending.lists.require("c").members == 0
        assert [member.recipient.address for member in sending.lists.members("a")] == ["bob@example.com"]
        sending.recipients.add(people("ada", "eve"), LATER)
        added = sending.lists.add_members("a", people("ada", "eve"), LATER, "import 2")
        assert (added.added, added.left) == (1, 1)
        found = sending.recipients.find(people("ada")[0])
        assert found is not None
        assert found.status == "active"

    def test_a_rejected_recipient_is_as_new_after_they_were_removed(self, sending: Database) -> None:
        leave(sending, "ada", "a")
        sending.connection.execute("UPDATE recipients SET status = 'rejected', bounced_event_id = 1")
        sending.recipients.remove(people("ada"), LATER)
        sending.recipients.add(people("ada"), LATER)
        row = sending.connection.fetch_one(
            "SELECT status, bounced_event_id FROM recipients WHERE address_key LIKE 'ada%'"
        )
        assert row == ("active", None)

    def test_undoing_an_import_removes_its_recipients_from_lists(self, sending: Database) -> None:
        import_id = sending.imports.create("people.csv", [b"x"], NOON)
        names = people("new", "old", "off")
        sending.imports.ready(
            import_id, sending.imports.compare(names), valid=3, invalid=0, skipped=0, preview="", invalid_lines=""
        )
        assert sending.imports.begin(import_id, "import", NOON)
        assert sending.imports.finish(import_id, names, NOON)
        sending.lists.add_members("a", names, NOON, f"import {import_id}")
        leave(sending, "off", "a")
        assert sending.lists.require("a").members == 5
        assert sending.imports.begin(import_id, "undo", NOON)
        while sending.imports.undo_some(import_id, NOON):
            pass
        assert sending.lists.require("a").members == 3
        assert sending.recipients.find(names[0]) is None
        assert sending.recipients.find(names[2]) is not None  # who left stays, to stay out


def test_lists_and_audiences_are_copied(sending: Database, tmp_path: Path) -> None:
    leave(sending, "ada", "a")
    sending.emails.save(EMAIL._replace(event_id=8, audience=Audience(to=people("new"))), NOON)
    target = load_settings({}, tmp_path / "copy")
    (tmp_path / "copy").mkdir()
    new_database.create(target, NOON)
    with open_database(target) as copy:
        rows = copy_database(sending, copy)
        counted = {"lists": 3, "memberships": 6, "audiences": 2, "named_recipients": 1}
        assert {table: rows[table] for table in counted} == counted
        assert copy.emails.get(7) == sending.emails.get(7)
        assert copy.emails.get(8) == sending.emails.get(8)
        check_whole(copy)


def test_leaving_during_a_claim_waits_for_it_and_cancels_what_it_claimed(sending: Database, settings: Settings) -> None:
    if settings.database_path is not None:
        return  # SQLite has one writer at a time
    sender_id = enter(sending)
    ada = recipient_id(sending, "ada")
    gone = sending.lists.require("a").list_id

    def leave_elsewhere() -> int:
        with open_database(settings) as other:
            return other.lists.leave(ada, [gone], LATER)

    with ThreadPoolExecutor(1) as pool, open_database(settings) as observer:
        with sending.connection.transaction():
            claims = sending.claims.claim(sender_id, 0, NOW, 9)
            assert ada in [claim[1] for claim in claims]
            leaving = pool.submit(leave_elsewhere)
            while observer.connection.fetch_one(ANY_WAITING) is None:
                assert not leaving.done()
        assert leaving.result() == 1
    assert statuses(sending)["ada"] == "cancelled"


def test_a_list_is_deleted_after_a_claim_that_reads_it(sending: Database, settings: Settings) -> None:
    if settings.database_path is not None:
        return  # SQLite has one writer at a time
    sender_id = enter(sending)

    def delete_elsewhere() -> None:
        with open_database(settings) as other:
            other.lists.delete("a", LATER)

    with ThreadPoolExecutor(1) as pool, open_database(settings) as observer:
        with sending.connection.transaction():
            claims = sending.claims.claim(sender_id, 0, NOW, 2)
            deleting = pool.submit(delete_elsewhere)
            while observer.connection.fetch_one(ANY_WAITING) is None:
                assert not deleting.done()
            claims += sending.claims.claim(sender_id, 0, NOW, 1)
        deleting.result()
    assert len(claims) == 3
    assert statuses(sending) == {"ada": "cancelled", "bob": "claimed", "eve": "cancelled"}
    assert status(sending) == "held"
