"""Operations on emails: lists, PUT, bulk saving, cancel and release, on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from database import (
    Address,
    Database,
    DeliveryUpdate,
    Email,
    EmailSummary,
    NoActiveRecipients,
    NoSuchEmail,
    NotCancellable,
    NotHeld,
    NotReplaceable,
)
from settings import Settings, load_settings
from tests.support.deliveries import (
    EMAIL,
    NOON,
    NOW,
    addresses,
    ending,
    enter,
    failed,
    key,
    send_all,
    sent,
    start,
    status,
)
from tests.support.invariants import check_whole

HOUR = timedelta(hours=1)
STATUSES = ("scheduled", "sending", "sent", "held", "cancelled")


@pytest.fixture
def settings(where: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings(where, tmp_path)


@pytest.fixture(autouse=True)
def _whole(database: Database) -> Iterator[None]:
    yield
    check_whole(database)


def one_of_each(database: Database) -> None:
    """Emails 1 to 5, an hour apart, in the order of STATUSES."""
    database.recipients.add(addresses(2), NOON)
    for number in range(1, 6):
        database.emails.save(EMAIL._replace(event_id=number, due_at=NOON + number * HOUR), NOON)
    for number, one in enumerate(STATUSES, 1):
        database.connection.execute("UPDATE emails SET status = :status WHERE event_id = :n", status=one, n=number)


def interrupted(*_: object) -> int:
    raise KeyboardInterrupt


class TestLists:
    def test_pages_go_on_after_the_last_key_in_both_directions(self, database: Database) -> None:
        one_of_each(database)
        first = database.emails.page(limit=2)
        last = database.emails.page(after=(first[-1].due_at, first[-1].event_id), limit=9)
        assert [email.event_id for email in first + last] == [1, 2, 3, 4, 5]
        backwards = database.emails.page(after=(last[0].due_at, last[0].event_id), newest_first=True)
        assert backwards == first[::-1]

    def test_emails_of_the_same_second_are_in_the_order_of_their_event_ids(self, database: Database) -> None:
        for number in (2, -5, 9):
            database.emails.save(EMAIL._replace(event_id=number), NOON)
        assert [email.event_id for email in database.emails.page(after=(NOON, -5))] == [2, 9]

    @pytest.mark.parametrize("wanted", STATUSES)
    def test_a_status_is_a_list_of_its_own(self, database: Database, wanted: str) -> None:
        one_of_each(database)
        (email,) = database.emails.page(status=wanted)
        assert (email.status, email.event_id) == (wanted, STATUSES.index(wanted) + 1)
        assert database.emails.page(status=wanted, newest_first=True) == [email]

    def test_a_summary_tells_how_far_an_email_has_come(self, database: Database) -> None:
        start(database, 3)
        sender_id = enter(database)
        first, second, _ = database.claims.claim(sender_id, 0, NOW, 3)
        database.deliveries.record(sender_id, [], [failed(second)], [ending(first, sender_id)])
        database.deliveries.record(sender_id, [sent(first, sender_id)], [], [])
        found = database.emails.summary(7)
        assert found is not None
        assert (found.deliveries, found.sent, found.failed, found.unknown, found.cancelled) == (3, 1, 1, 0, 0)
        assert (found.first_sent_at, found.last_sent_at, found.finished_at) == (NOON, NOON, None)
        assert database.emails.page() == [found]
        assert database.emails.summary(8) is None

    def test_what_has_not_begun_has_counted_nothing(self, database: Database) -> None:
        database.emails.save(EMAIL, NOON)
        found = database.emails.summary(7)
        assert found == EmailSummary(
            7, "Hello", NOON, NOON, None, "scheduled", None, 0, 0, 0, 0, 0, 0, None, None, None
        )

    def test_how_many_deliveries_there_will_be_is_known_before_they_are_made(self, database: Database) -> None:
        start(database, 9)
        sender_id = enter(database)
        database.recipients.add([Address("late@example.com", "late@example.com")], NOON)
        claims = database.claims.claim(sender_id, 0, NOW, 4)
        database.deliveries.record(sender_id, [], [failed(claims[0])], [])
        found = database.emails.summary(7)
        assert found is not None
        assert (found.deliveries, found.expected, found.unfinished, found.started_at) == (4, 9, 8, NOON)
        database.recipients.remove(addresses(9), NOON)
        while database.claims.claim(sender_id, 0, NOW, 9):
            pass
        found = database.emails.summary(7)
        assert found is not None
        assert (found.deliveries, found.expected, found.unfinished) == (4, 4, 0)

    def test_emails_that_not_everyone_received_are_listed_by_their_start(self, database: Database) -> None:
        start(database, 2)
        sender_id = enter(database)
        for number in (8, 9):
            start(database, 2, EMAIL._replace(event_id=number), NOW + number % 9)
        claims = database.claims.claim(sender_id, 0, NOW, 9)
        doubts = [
            DeliveryUpdate(*key(claim), "in_doubt", "unknown", "it broke", NOW) for claim in claims if claim[0] == 9
        ]
        lost = [failed(claim) for claim in claims if claim[0] == 7] + doubts
        assert database.emails.page_with_failures() == []
        database.deliveries.record(sender_id, [], lost, [])
        first = database.emails.page_with_failures(limit=1)
        assert first[0].started_at is not None
        rest = database.emails.page_with_failures(after=(first[0].started_at, first[0].event_id))
        assert [email.event_id for email in first + rest] == [9, 7]
        assert database.emails.page_with_failures(limit=9) == first + rest
        database.deliveries.retry(7, NOON)
        assert [email.event_id for email in database.emails.page_with_failures()] == [9]

    def test_the_counts_follow_every_change_of_a_status(self, database: Database) -> None:
        assert database.emails.counts() == dict.fromkeys(STATUSES, 0)
        one_of_each(database)
        assert database.emails.counts() == dict.fromkeys(STATUSES, 1)
        database.emails.cancel(1, NOON)
        assert database.emails.counts() == {"scheduled": 0, "sending": 1, "sent": 1, "held": 1, "cancelled": 2}


class TestSaveMany:
    def test_each_email_gets_a_result_of_its_own(self, database: Database) -> None:
        database.emails.save(EMAIL, NOON)
        emails = [EMAIL._replace(event_id=9), EMAIL, EMAIL._replace(subject="B"), EMAIL._replace(event_id=9)]
        assert database.emails.save_many(emails, NOON) == ["saved", "identical", "different", "identical"]
        assert database.emails.counts()["scheduled"] == 2

    @pytest.mark.parametrize("number", [1, 2, 31, 32, 33, 70])
    def test_groups_of_any_size_are_saved_whole(self, database: Database, number: int) -> None:
        emails = [EMAIL._replace(event_id=event_id, content=f"{event_id}") for event_id in range(number, 0, -1)]
        again = EMAIL._replace(event_id=1, content="another")
        assert database.emails.save_many(emails, NOON) == ["saved"] * number
        assert database.emails.save_many([*emails[:-1], again], NOON) == ["identical"] * (number - 1) + ["different"]
        saved = [database.emails.get(email.event_id) for email in emails]
        assert [(email.event_id, email.content) for email in saved if email] == [
            (email.event_id, email.content) for email in emails
        ]
        assert database.emails.counts()["scheduled"] == number

    def test_an_email_can_be_compared_with_what_is_saved_under_its_number(self, database: Database) -> None:
        assert database.emails.compare(EMAIL) is None
        database.emails.save(EMAIL, NOON)
        assert database.emails.compare(EMAIL) == "identical"
        assert database.emails.compare(EMAIL._replace(due_at=NOON + HOUR)) == "different"

    def test_none_is_saved_if_one_cannot_be(self, database: Database) -> None:
        broken = EMAIL._replace(event_id=2**70)
        with pytest.raises((OverflowError, Exception)):
            database.emails.save_many([EMAIL, broken], NOON)
        assert database.emails.get(7) is None


class TestReplace:
    def test_an_email_is_created_replaced_and_then_unchanged(self, database: Database) -> None:
        later = EMAIL._replace(content="B", due_at=NOON + HOUR)
        assert database.emails.replace(EMAIL, NOON) == "created"
        assert database.emails.replace(later, NOON) == "replaced"
        assert database.emails.replace(later, NOON) == "unchanged"
        assert (database.emails.get(7) or ())[:5] == later[:5]

    def test_a_held_one_is_scheduled_again(self, database: Database) -> None:
        database.emails.save(EMAIL, NOON)
        database.progress.start_due_emails(NOW)
        assert status(database) == "held"
        assert database.emails.replace(EMAIL._replace(due_at=NOON + HOUR), NOON) == "replaced"
        email = database.emails.get(7)
        assert email is not None
        assert (email.status, email.held_because) == ("scheduled", None)

    @pytest.mark.parametrize("found", ["sending", "sent", "cancelled"])
    def test_what_has_begun_or_is_over_stays_as_it_is(self, database: Database, found: str) -> None:
        database.emails.save(EMAIL, NOON)
        database.connection.execute("UPDATE emails SET status = :status", status=found)
        with pytest.raises(NotReplaceable) as caught:
            database.emails.replace(EMAIL._replace(content="B"), NOON)
        assert (caught.value.event_id, caught.value.status) == (7, found)

    def test_the_same_one_put_again_after_it_was_sent_is_no_error(self, database: Database) -> None:
        start(database)
        assert database.emails.replace(EMAIL, NOON) == "unchanged"

    def test_nobody_takes_a_cancelled_one_for_scheduled(self, database: Database) -> None:
        database.emails.save(EMAIL, NOON)
        database.emails.cancel(7, NOON)
        with pytest.raises(NotReplaceable):
            database.emails.replace(EMAIL, NOON)

    def test_a_held_one_that_some_have_got_is_not_replaced(self, database: Database) -> None:
        start(database)
        database.connection.execute("UPDATE emails SET status = 'held'")
        with pytest.raises(NotReplaceable):
            database.emails.replace(EMAIL._replace(content="B"), NOON)


class TestReschedule:
    def test_only_the_time_is_moved(self, database: Database) -> None:
        database.emails.save(EMAIL, NOON)
        database.emails.reschedule(7, NOON + HOUR, NOON)
        assert (database.emails.get(7) or ())[:5] == EMAIL._replace(due_at=NOON + HOUR)[:5]
        assert database.progress.start_due_emails(NOW) == []

    def test_when_it_was_saved_stays(self, database: Database) -> None:
        database.emails.save(EMAIL, NOON)
        database.emails.reschedule(7, NOON + 2 * HOUR, NOON + HOUR)
        summary = database.emails.summary(7)
        assert summary is not None and (summary.due_at, summary.created_at) == (NOON + 2 * HOUR, NOON)

    def test_a_held_one_is_scheduled_and_not_held_for_its_lateness_again(self, database: Database) -> None:
        database.recipients.add(addresses(2), NOON)
        database.emails.save(EMAIL, NOON)
        late = NOON + 9 * HOUR
        database.progress.start_due_emails(int(late.timestamp()), hold_if_late=3600)
        assert status(database) == "held"
        database.emails.reschedule(7, NOON, late)
        (begun,) = database.progress.start_due_emails(int(late.timestamp()), hold_if_late=3600)
        assert begun == (7, None)

    @pytest.mark.parametrize("found", ["sending", "sent", "cancelled"])
    def test_what_has_begun_or_is_over_keeps_its_time(self, database: Database, found: str) -> None:
        database.emails.save(EMAIL, NOON)
        database.connection.execute("UPDATE emails SET status = :status", status=found)
        with pytest.raises(NotReplaceable) as caught:
            database.emails.reschedule(7, NOON + HOUR, NOON)
        assert (caught.value.event_id, caught.value.status) == (7, found)

    def test_a_held_one_that_some_have_got_keeps_its_time(self, database: Database) -> None:
        start(database)
        database.connection.execute("UPDATE emails SET status = 'held'")
        with pytest.raises(NotReplaceable):
            database.emails.reschedule(7, NOON + HOUR, NOON)

    def test_nothing_is_no_email(self, database: Database) -> None:
        with pytest.raises(NoSuchEmail):
            database.emails.reschedule(8, NOON, NOON)


class TestCancel:
    def test_a_scheduled_one_is_simply_cancelled(self, database: Database) -> None:
        database.emails.save(EMAIL, NOON)
        assert database.emails.cancel(7, NOON) == (0, 0, 0)
        assert database.progress.start_due_emails(NOW) == []
        email = database.emails.get(7)
        assert email is not None
        assert (email.status, email.finished_at) == ("cancelled", NOON)

    def test_what_is_under_way_is_counted_and_the_rest_is_cancelled(self, database: Database) -> None:
        start(database, 6)
        sender_id = enter(database)
        first, second, third, fourth = database.claims.claim(sender_id, 0, NOW, 4)
        database.deliveries.record(sender_id, [], [], [ending(first, sender_id), ending(second, sender_id)])
        database.deliveries.record(sender_id, [sent(first, sender_id)], [], [])
        database.deliveries.release(sender_id, [key(third)], NOW)
        assert database.emails.cancel(7, NOON) == (1, 1, 2)
        assert database.deliveries.record(sender_id, [], [], [ending(fourth, sender_id)]) == []
        assert database.claims.claim(sender_id, 0, NOW, 9) == []
        database.deliveries.record(sender_id, [sent(second, sender_id)], [], [])
        assert database.progress.get(7) == (7, 4, 2, 0, 0, 2)
        assert status(database) == "cancelled"
        assert not database.has_work(NOW)

    @pytest.mark.parametrize("outcome", ["deferred", "in_doubt"])
    def test_what_was_in_flight_is_not_tried_again(self, database: Database, outcome: str) -> None:
        start(database, 1)
        sender_id = enter(database)
        (claim,) = database.claims.claim(sender_id, 0, NOW, 1)
        database.deliveries.record(sender_id, [], [], [ending(claim, sender_id)])
        assert database.emails.cancel(7, NOON) == (0, 1, 0)
        later = DeliveryUpdate(*key(claim), outcome, "queued", "450 later", NOW, NOW)
        database.deliveries.record(sender_id, [], [later], [])
        assert database.progress.get(7) == (7, 1, 0, 0, 0, 1)
        email = database.emails.get(7)
        assert email is not None
        assert (email.status, email.finished_at) == ("cancelled", NOON)

    def test_cancelling_twice_gives_the_same_numbers(self, database: Database) -> None:
        start(database, 2)
        enter(database)
        assert database.emails.cancel(7, NOON) == database.emails.cancel(7, NOON) == (0, 0, 0)

    def test_what_was_sent_cannot_be_cancelled(self, database: Database) -> None:
        start(database, 2)
        send_all(database, enter(database))
        with pytest.raises(NotCancellable) as caught:
            database.emails.cancel(7, NOON)
        assert caught.value.status == "sent"

    def test_nothing_is_no_email(self, database: Database) -> None:
        for act in (database.emails.cancel, database.emails.release):
            with pytest.raises(NoSuchEmail):
                act(8, NOON)

    def test_an_interrupted_cancel_is_finished_by_the_next_sweep(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        start(database, 5)
        sender_id = enter(database)
        database.deliveries.release(sender_id, [key(c) for c in database.claims.claim(sender_id, 0, NOW, 5)], NOW)
        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr("storage.cancellation._cancel_some", interrupted)
            database.emails.cancel(7, NOON)
        assert database.claims.claim(sender_id, 0, NOW, 5) == []
        assert database.has_work(NOW)
        database.emails.finish_cancels(NOON)
        assert not database.has_work(NOW)
        assert database.progress.get(7) == (7, 5, 0, 0, 0, 5)

    def test_a_held_one_is_cancelled_with_what_it_began(self, database: Database) -> None:
        start(database, 3)
        sender_id = enter(database)
        claims = database.claims.claim(sender_id, 0, NOW, 2)
        database.deliveries.release(sender_id, [key(claim) for claim in claims], NOW)
        database.connection.execute("UPDATE emails SET status = 'held'")
        assert database.emails.cancel(7, NOON) == (0, 0, 2)


class TestRelease:
    def held(self, database: Database, email: Email = EMAIL) -> None:
        database.emails.save(email, NOON)
        database.progress.start_due_emails(int(email.due_at.timestamp()))
        assert status(database) == "held"

    def test_a_due_one_begins_at_once_and_is_never_held_for_its_lateness_again(self, database: Database) -> None:
        database.recipients.add(addresses(2), NOON)
        database.emails.save(EMAIL, NOON)
        late = NOON + 9 * HOUR
        (begun,) = database.progress.start_due_emails(int(late.timestamp()), hold_if_late=3600)
        assert begun.held_because
        assert database.emails.release(7, late) == "sending"
        assert database.progress.start_due_emails(int(late.timestamp()), hold_if_late=3600) == []
        send_all(database, enter(database))
        assert status(database) == "sent"

    def test_one_whose_time_has_not_come_is_scheduled(self, database: Database) -> None:
        self.held(database)
        assert database.emails.release(7, NOON - HOUR) == "scheduled"

    def test_nobody_to_send_to_is_an_error(self, database: Database) -> None:
        self.held(database)
        with pytest.raises(NoActiveRecipients):
            database.emails.release(7, NOON)
        assert status(database) == "held"

    def test_one_that_was_begun_goes_on(self, database: Database) -> None:
        start(database, 3)
        database.progress.mark_as_backup(NOW)
        database.progress.hold_restored(NOW)
        assert status(database) == "held"
        assert database.emails.release(7, NOON) == "sending"
        send_all(database, enter(database))
        assert database.progress.get(7) == (7, 3, 3, 0, 0, 0)

    def test_only_what_is_held_is_released(self, database: Database) -> None:
        database.emails.save(EMAIL, NOON)
        with pytest.raises(NotHeld) as caught:
            database.emails.release(7, NOON)
        assert caught.value.status == "scheduled"
