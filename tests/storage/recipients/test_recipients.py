"""Operations on recipients: lists, search, history and removal, on each engine."""

from __future__ import annotations

import pytest

from database import Address, Database, NoSuchRecipient
from tests.support.deliveries import EMAIL, NOON, NOW, addresses, ending, enter, key, send_all, start, status


def add(database: Database, *names: str) -> None:
    database.recipients.add((Address(f"{name}@example.com", f"{name.lower()}@example.com") for name in names), NOON)


def names(database: Database, after: int = 0, limit: int = 100, **wanted: str) -> list[str]:
    page = database.recipients.page(after, limit, **wanted)
    return [recipient.address.partition("@")[0] for recipient in page]


class TestLists:
    def test_pages_go_on_after_the_last_one(self, database: Database) -> None:
        add(database, "b")
        add(database, "a", "c")
        assert names(database, limit=2) == ["b", "a"]
        assert names(database, after=2) == ["c"]

    def test_a_search_finds_what_begins_so_in_the_order_of_bytes(self, database: Database) -> None:
        add(database, "Anna", "anne.x", "ann", "an-na", "é", "bob", "ann日", "zoë")
        assert names(database, address_begins="ann") == ["ann", "Anna", "anne.x", "ann日"]
        assert names(database, address_begins="a", limit=2) == ["an-na", "ann"]
        second = database.recipients.page(0, 2, address_begins="a")[-1].recipient_id
        assert names(database, after=second, address_begins="a") == ["Anna", "anne.x", "ann日"]
        assert names(database, address_begins="ann%") == []

    def test_a_search_finds_any_part_of_an_address(self, database: Database) -> None:
        add(database, "h.schmidt", "SCHMIDT", "anna", "x_schmidtz", "xaschmid", "50%off", "zoë", "a!b")
        assert names(database, address_contains="schmidt") == ["h.schmidt", "SCHMIDT", "x_schmidtz"]
        first = database.recipients.page(0, 1, address_contains="schmidt")[0].recipient_id
        assert names(database, address_contains="schmidt", limit=1, after=first) == ["SCHMIDT"]
        assert names(database, address_contains="_") == ["x_schmidtz"]
        assert names(database, address_contains="%") == ["50%off"]
        assert names(database, address_contains="!b@") == ["a!b"]
        assert names(database, address_contains="ë@example.com") == ["zoë"]
        assert names(database, address_contains="@example.com", limit=2) == ["50%off", "a!b"]
        assert names(database, address_contains="mid", address_begins="x") == ["x_schmidtz", "xaschmid"]
        assert database.recipients.unsubscribe(
            database.recipients.page(first, 1, address_contains="schmidt")[0].recipient_id, NOON
        )
        assert names(database, address_contains="schmidt", status="unsubscribed") == ["SCHMIDT"]
        assert names(database, address_contains="@example.co" + "m" * 300) == []

    def test_a_search_does_not_end_or_start_over_where_a_recipient_was_removed(self, database: Database) -> None:
        add(database, "a", "b")
        database.recipients.remove([Address("a@example.com", "a@example.com")], NOON)
        with pytest.raises(NoSuchRecipient):
            database.recipients.page(after=1, address_begins="")

    def test_a_status_is_a_list_of_its_own(self, database: Database) -> None:
        add(database, "a", "b", "bb", "c")
        for recipient_id in (2, 3):
            assert database.recipients.unsubscribe(recipient_id, NOON)
        assert names(database, status="unsubscribed") == ["b", "bb"]
        assert names(database, status="unsubscribed", address_begins="bb") == ["bb"]
        assert names(database, status="active") == ["a", "c"]
        assert names(database, status="rejected") == []

    def test_one_is_found_by_its_number(self, database: Database) -> None:
        add(database, "a")
        assert database.recipients.get(1) == (1, "a@example.com", "active", NOON, True, None, {})
        assert database.recipients.get(2) is None

    def test_the_counts_follow_every_change(self, database: Database) -> None:
        add(database, "a", "b", "c", "d")
        database.recipients.unsubscribe(1, NOON)
        database.connection.execute("UPDATE recipients SET status = 'rejected' WHERE recipient_id = 2")
        assert database.recipients.counts() == {"active": 2, "unsubscribed": 1, "rejected": 1}
        database.recipients.remove([Address(f"{name}@example.com", f"{name}@example.com") for name in "abc"], NOON)
        assert database.recipients.counts() == {"active": 1, "unsubscribed": 0, "rejected": 0}
        add(database, "a", "b")
        assert database.recipients.counts() == {"active": 2, "unsubscribed": 1, "rejected": 0}


class TestHistory:
    def test_the_latest_email_comes_first(self, database: Database) -> None:
        start(database, 2)
        database.emails.save(EMAIL._replace(event_id=9, subject="Later"), NOON)
        database.emails.save(EMAIL._replace(event_id=10), NOON)
        database.emails.cancel(10, NOON)
        database.progress.start_due_emails(NOW)
        send_all(database, enter(database))
        rows, next_after = database.recipients.deliveries(2)
        assert [(row.event_id, row.subject, row.delivery.status) for row in rows] == [
            (9, "Later", "sent"),
            (7, "Hello", "sent"),
        ]
        assert next_after is None
        first = database.recipients.deliveries(2, limit=1)
        assert first.next_after == (NOON, 9)
        assert database.recipients.deliveries(2, after=first.next_after).rows == rows[1:]

    def test_a_bounded_search_goes_on(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("storage.recipients.recipients.HISTORY_WINDOW_SIZE", 1)
        start(database, 1)
        enter(database)
        database.claims.claim(1, 0, NOW, 1)
        database.emails.save(EMAIL._replace(event_id=9), NOON)
        database.emails.cancel(9, NOON)
        rows, next_after = database.recipients.deliveries(1)
        assert (rows, next_after) == ([], (NOON, 9))
        assert [row.event_id for row in database.recipients.deliveries(1, after=next_after).rows] == [7]


class TestLeaving:
    def test_someone_who_unsubscribes_receives_nothing_that_is_not_already_leaving(self, database: Database) -> None:
        start(database, 2)
        sender_id = enter(database)
        first, second = database.claims.claim(sender_id, 0, NOW, 2)
        database.deliveries.record(sender_id, [], [], [ending(first, sender_id)])
        assert database.recipients.unsubscribe(second[1], NOON)
        assert not database.recipients.unsubscribe(second[1], NOON)
        assert database.deliveries.record(sender_id, [], [], [ending(second, sender_id)]) == []
        database.deliveries.release(sender_id, [key(first)], NOW)
        assert status(database) == "sending"

    def test_nobody_is_no_error(self, database: Database) -> None:
        assert not database.recipients.unsubscribe(1, NOON)
        assert not database.recipients.reactivate(addresses(1)[0])

    def test_a_person_can_be_made_active_again(self, database: Database) -> None:
        (one,) = addresses(1)
        database.recipients.add([one], NOON)
        database.connection.execute("UPDATE recipients SET status = 'rejected', bounced_event_id = 3")
        assert database.recipients.reactivate(one)
        assert not database.recipients.reactivate(one)
        assert database.connection.fetch_all("SELECT status, bounced_event_id FROM recipients") == [("active", None)]
