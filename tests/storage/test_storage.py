"""The contract of the data layer, on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from database import (
    Address,
    Database,
    DatabaseBusy,
    DatabaseMissing,
    DeliveryUpdate,
    Email,
    EventIdUsed,
    NoSuchEmail,
    NotRetryable,
    SchemaMismatch,
    db_init,
    open_database,
)
from settings import Settings, load_settings
from storage.values import moment
from tests.support.deliveries import (
    EMAIL,
    NOON,
    NOW,
    address,
    addresses,
    ending,
    enter,
    failed,
    in_doubt,
    key,
    send_all,
    sent,
    start,
    status,
)


@pytest.fixture
def settings(where: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings(where, tmp_path)


class TestEmails:
    def test_a_saved_email_comes_back_as_it_was(self, database: Database) -> None:
        email = Email(-(2**63), "Grüße 👋", "line\r\n\tmore 日本\n", NOON)
        database.emails.save(email, NOON)
        assert database.emails.get(-(2**63)) == email._replace(created_at=NOON)

    def test_an_unknown_email_is_none(self, database: Database) -> None:
        assert database.emails.get(1) is None

    @pytest.mark.parametrize(("other", "identical"), [(EMAIL, True), (EMAIL._replace(content="B"), False)])
    def test_an_event_id_is_used_once(self, database: Database, other: Email, identical: bool) -> None:
        database.emails.save(EMAIL, NOON)
        with pytest.raises(EventIdUsed, match="UNIQUE constraint") as caught:
            database.emails.save(other, NOON)
        assert caught.value.identical is identical
        assert database.emails.get(7) == EMAIL._replace(created_at=NOON)

    def test_another_writer_is_not_waited_for_forever(self, database: Database, second: Database) -> None:
        with database.connection.transaction():
            database.emails.save(EMAIL, NOON)
            with pytest.raises(DatabaseBusy):
                second.emails.save(EMAIL, NOON)
        with pytest.raises(EventIdUsed):
            second.emails.save(EMAIL, NOON)


class TestRecipients:
    def test_those_added_at_once_are_listed_in_the_order_of_their_addresses(self, database: Database) -> None:
        database.recipients.add(addresses(25), NOON)
        pages = list(database.recipients.pages(10))
        assert [len(page) for page in pages] == [10, 10, 5]
        assert [recipient.address for page in pages for recipient in page] == sorted(a.text for a in addresses(25))

    def test_an_address_is_there_once(self, database: Database) -> None:
        again = [Address("P1@example.com", "p1@example.com"), *addresses(2), *addresses(3)]
        assert database.recipients.add(addresses(2), NOON)[:2] == (2, 0)
        assert database.recipients.add(again, NOON)[:2] == (1, 2)
        assert database.recipients.counts()["active"] == 3

    def test_an_error_halfway_adds_no_recipient(self, database: Database) -> None:
        def broken() -> Iterator[Address]:
            yield from addresses(5)
            raise ValueError("line 6")

        with pytest.raises(ValueError, match="line 6"):
            database.recipients.add(broken(), NOON)
        assert database.recipients.counts()["active"] == 0
        assert database.recipients.add(addresses(1), NOON)[:2] == (1, 0)

    def test_removing_a_recipient_keeps_only_that_they_unsubscribed(self, database: Database) -> None:
        database.recipients.add(addresses(2), NOON)
        database.connection.execute("UPDATE recipients SET status = 'unsubscribed' WHERE address = 'p1@example.com'")
        assert database.recipients.remove(addresses(3), NOON) == 2
        assert list(database.recipients.pages()) == []
        database.recipients.add(addresses(2), NOON)
        (page,) = database.recipients.pages()
        assert {recipient.address: recipient.status for recipient in page} == {
            "p0@example.com": "active",
            "p1@example.com": "unsubscribed",
        }

    def test_removing_cancels_what_was_not_yet_sent_and_finishes_the_email(self, database: Database) -> None:
        start(database, 2)
        sender_id = enter(database)
        first, second = database.claims.claim(sender_id, 0, NOW, 10)
        database.deliveries.record(sender_id, [], [], [ending(first, sender_id)])
        database.recipients.remove([address(second)], NOON)
        assert database.deliveries.record(sender_id, [sent(first, sender_id)], [], [ending(second, sender_id)]) == []
        assert database.progress.get(7) == (7, 2, 1, 0, 0, 1)
        email = database.emails.get(7)
        assert email is not None
        assert email.status == "sent"


class TestStart:
    def test_nothing_begins_before_its_second(self, database: Database) -> None:
        database.recipients.add(addresses(1), NOON)
        database.emails.save(EMAIL, NOON)
        database.progress.start_due_emails(NOW - 1)
        assert database.progress.get(7) is None
        assert database.next_work_at() == NOW

    def test_every_active_recipient_of_that_moment_gets_a_delivery(self, database: Database) -> None:
        database.recipients.add(addresses(5), NOON)
        database.connection.execute("UPDATE recipients SET status = 'rejected' WHERE address = 'p3@example.com'")
        database.emails.save(EMAIL, NOON)
        database.progress.start_due_emails(NOW)
        database.recipients.add([Address("late@example.com", "late@example.com")], NOON)
        sender_id = enter(database)
        claimed = [claim for _ in range(3) for claim in database.claims.claim(sender_id, 0, NOW, 2)]
        assert [address[:2] for _, _, address in claimed] == ["p0", "p1", "p2", "p4"]

    def test_a_recipient_who_is_removed_before_the_cursor_reaches_them_receives_nothing(
        self, database: Database
    ) -> None:
        start(database, 3)
        sender_id = enter(database)
        (first,) = database.claims.claim(sender_id, 0, NOW, 1)
        database.connection.execute("UPDATE recipients SET status = 'unsubscribed' WHERE address = 'p1@example.com'")
        assert [claim[2] for claim in database.claims.claim(sender_id, 0, NOW, 9)] == ["p2@example.com"]
        assert first[2] == "p0@example.com"

    def test_an_email_without_recipients_is_held_and_a_later_one_gets_no_old_mail(self, database: Database) -> None:
        database.emails.save(EMAIL, NOON)
        ((event_id, reason),) = database.progress.start_due_emails(NOW)
        assert (event_id, reason) == (7, "there were no active recipients when it was due")
        database.recipients.add(addresses(1), NOON)
        assert database.progress.start_due_emails(NOW) == []
        assert not database.has_work(NOW)

    def test_an_email_that_would_be_too_late_is_held(self, database: Database) -> None:
        database.recipients.add(addresses(1), NOON)
        database.emails.save(EMAIL, NOON)
        database.emails.save(EMAIL._replace(event_id=8), NOON + timedelta(hours=2))
        begun = database.progress.start_due_emails(NOW + 3 * 3600, hold_if_late=2 * 3600)
        assert [event_id for event_id, held_because in begun if held_because] == [7]

    def test_a_start_killed_between_any_two_chunks_is_continued(self, settings: Settings, database: Database) -> None:
        database.recipients.add(addresses(7), NOON)
        sender_id = enter(database)
        for chunks in range(5):
            event_id = 100 + chunks
            database.emails.save(EMAIL._replace(event_id=event_id), NOON)
            database.progress.start_due_emails(NOW)
            for _ in range(chunks):
                database.claims.claim(sender_id, event_id - 1, NOW, 2)
            with open_database(settings) as another:
                while another.claims.claim(sender_id, event_id - 1, NOW, 2):
                    pass
                progress = another.progress.get(event_id)
            assert progress is not None
            assert progress.deliveries == 7

    def test_an_email_is_not_finished_before_its_cursor_has_reached_the_end(self, database: Database) -> None:
        database.recipients.add(addresses(4), NOON)
        database.emails.save(EMAIL, NOON)
        database.progress.start_due_emails(NOW)
        sender_id = enter(database)
        claimed = database.claims.claim(sender_id, 0, NOW, 2)
        database.deliveries.record(sender_id, [], [], [ending(claim, sender_id) for claim in claimed])
        database.deliveries.record(sender_id, [sent(claim, sender_id) for claim in claimed], [], [])
        assert status(database) == "sending"
        send_all(database, sender_id)
        assert status(database) == "sent"
        assert database.progress.get(7) == (7, 4, 4, 0, 0, 0)

    def test_a_start_whose_recipients_all_left_finishes(self, database: Database) -> None:
        database.recipients.add(addresses(3), NOON)
        database.emails.save(EMAIL, NOON)
        database.progress.start_due_emails(NOW)
        database.recipients.remove(addresses(3), NOON)
        assert database.claims.claim(enter(database), 0, NOW, 2) == []
        assert status(database) == "sent"


class TestDeliveries:
    def test_a_delivery_is_claimed_once(self, database: Database, second: Database) -> None:
        start(database, 5)
        one, two = enter(database), enter(second)
        claimed = database.claims.claim(one, 0, NOW, 3) + second.claims.claim(two, 0, NOW, 9)
        assert sorted(recipient_id for _, recipient_id, _ in claimed) == [1, 2, 3, 4, 5]

    def test_emails_are_claimed_in_turn(self, database: Database) -> None:
        start(database, 5)
        start(database, 5, EMAIL._replace(event_id=8))
        sender_id = enter(database)
        first = database.claims.claim(sender_id, 0, NOW, 2)
        second = database.claims.claim(sender_id, first[-1][0], NOW, 2)
        third = database.claims.claim(sender_id, second[-1][0], NOW, 2)
        assert [claimed[0][0] for claimed in (first, second, third)] == [7, 8, 7]

    def test_the_outermost_event_ids_are_claimed_too(self, database: Database) -> None:
        for event_id in (-(2**63), 2**63 - 1):
            start(database, 1, EMAIL._replace(event_id=event_id))
        claimed = database.claims.claim(enter(database), 2**63 - 1, NOW, 10)
        assert sorted(event_id for event_id, _, _ in claimed) == [-(2**63), 2**63 - 1]

    def test_outcome_and_end_are_one_commit(self, database: Database) -> None:
        start(database, 2)
        sender_id = enter(database)
        first, second = database.claims.claim(sender_id, 0, NOW, 2)
        assert database.deliveries.record(sender_id, [], [], [ending(first, sender_id)]) == [ending(first, sender_id)]
        assert database.deliveries.record(sender_id, [sent(first, sender_id)], [], [ending(second, sender_id)]) == [
            ending(second, sender_id)
        ]
        assert database.progress.get(7) == (7, 2, 1, 0, 0, 0)

    def test_no_more_is_claimed_than_may_be_sent_in_a_day(self, database: Database) -> None:
        start(database, 5)
        sender_id = enter(database)
        claimed = database.claims.claim(sender_id, 0, NOW, 9, per_day=3)
        assert len(claimed) == 3
        assert database.claims.claim(sender_id, 0, NOW, 9, per_day=3) == []
        database.deliveries.record(sender_id, [], [], [ending(claim, sender_id) for claim in claimed])
        database.deliveries.record(sender_id, [sent(claim, sender_id) for claim in claimed], [], [])
        assert database.claims.claim(sender_id, 0, NOW + 23 * 3600, 9, per_day=3) == []
        assert len(database.claims.claim(sender_id, 0, NOW + 25 * 3600, 9, per_day=3)) == 2

    def test_a_deferred_delivery_is_claimed_when_its_time_has_come(self, database: Database) -> None:
        start(database, 1)
        sender_id = enter(database)
        (delivery,) = database.claims.claim(sender_id, 0, NOW, 1)
        later = DeliveryUpdate(*key(delivery), "deferred", "queued", "450 later", NOW, NOW + 300)
        database.deliveries.record(sender_id, [], [later], [])
        assert database.claims.claim(sender_id, 0, NOW + 299, 1) == []
        assert database.next_work_at() == NOW + 300
        (again,) = database.claims.claim(sender_id, 0, NOW + 300, 1)
        assert database.deliveries.get(key(again)).attempts == 1

    def test_a_given_back_delivery_counts_no_attempt(self, database: Database) -> None:
        start(database, 1)
        sender_id = enter(database)
        (delivery,) = database.claims.claim(sender_id, 0, NOW, 1)
        database.deliveries.release(sender_id, [key(delivery)], NOW)
        assert database.claims.claim(sender_id, 0, NOW, 1) == [delivery]

    def test_what_another_sender_took_over_is_not_ended(self, database: Database, second: Database) -> None:
        start(database, 1)
        one = enter(database)
        (delivery,) = database.claims.claim(one, 0, NOW, 1)
        database.connection.execute("UPDATE senders SET clock = 'an earlier boot'")
        two = enter(second)
        assert second.claims.claim(two, 0, NOW, 1) == [delivery]
        assert database.deliveries.record(one, [], [], [ending(delivery, one)]) == []
        assert not database.senders.renew(one, NOW)

    @pytest.mark.parametrize("then", ["queued", "claimed", "failed"])
    def test_a_known_acceptance_is_recorded_though_the_claim_was_lost(self, database: Database, then: str) -> None:
        start(database, 2)
        one = enter(database)
        delivery, other = database.claims.claim(one, 0, NOW, 2)
        database.deliveries.record(one, [], [], [ending(delivery, one), ending(other, one)])
        database.connection.execute("UPDATE senders SET clock = 'an earlier boot'")
        two = enter(database)
        if then != "queued":
            again = database.claims.claim(two, 0, NOW, 2)
            database.deliveries.record(two, [], [failed(again[0])] if then == "failed" else [], [])
        database.deliveries.record(one, [sent(delivery, one)], [], [])
        assert database.progress.get(7) == (7, 2, 1, 0, 0, 0)

    def test_a_late_acceptance_leaves_what_another_sender_may_have_ended(self, database: Database) -> None:
        start(database, 1)
        one = enter(database)
        (delivery,) = database.claims.claim(one, 0, NOW, 1)
        database.deliveries.record(one, [], [], [ending(delivery, one)])
        database.connection.execute("UPDATE senders SET clock = 'an earlier boot'")
        two = enter(database)
        (again,) = database.claims.claim(two, 0, NOW, 1)
        database.deliveries.record(two, [], [], [ending(again, two)])
        database.deliveries.record(one, [sent(delivery, one)], [], [])
        assert database.progress.get(7) == (7, 1, 0, 0, 0, 0)

    def test_failed_deliveries_can_be_queued_again(self, database: Database) -> None:
        start(database, 2)
        sender_id = enter(database)
        first, second = database.claims.claim(sender_id, 0, NOW, 2)
        database.deliveries.record(sender_id, [sent(second, sender_id)], [failed(first)], [])
        assert status(database) == "sent"
        assert database.deliveries.retry(7, NOON + timedelta(seconds=9)) == 1
        assert status(database) == "sending"
        assert database.progress.get(7) == (7, 2, 1, 0, 0, 0)
        (again,) = database.claims.claim(sender_id, 0, NOW + 9, 2)
        assert key(again) == key(first)

    def test_retrying_an_email_without_failures_changes_nothing(self, database: Database) -> None:
        start(database, 1)
        send_all(database, enter(database))
        database.progress.flush_completion_log(lambda event_ids: None)
        assert database.deliveries.retry(7, NOON) == 0
        assert status(database) == "sent"
        assert not database.has_work(NOW)

    def test_a_removed_recipient_is_not_retried(self, database: Database) -> None:
        start(database, 3)
        sender_id = enter(database)
        first, second, third = database.claims.claim(sender_id, 0, NOW, 3)
        database.deliveries.record(
            sender_id, [], [failed(first)], [ending(second, sender_id), ending(third, sender_id)]
        )
        database.recipients.remove([address(claim) for claim in (first, second, third)], NOON)
        later = DeliveryUpdate(*key(second), "deferred", "queued", "450 later", NOW, NOW + 300)
        database.deliveries.record(sender_id, [], [later], [])
        database.deliveries.release(sender_id, [key(third)], NOW)
        assert database.progress.get(7) == (7, 3, 0, 1, 0, 2)
        assert database.deliveries.retry(7, NOON) == 0
        assert status(database) == "sent"

    def test_a_sender_that_was_taken_over_claims_nothing(self, database: Database) -> None:
        start(database, 1)
        one = enter(database)
        database.connection.execute("UPDATE senders SET clock = 'an earlier boot'")
        enter(database)
        assert database.claims.claim(one, 0, NOW, 1) == []

    @pytest.mark.parametrize(("event_id", "error"), [(7, NotRetryable), (8, NoSuchEmail)])
    def test_what_was_never_started_has_nothing_to_retry(
        self, database: Database, event_id: int, error: type[Exception]
    ) -> None:
        database.emails.save(EMAIL, NOON)
        with pytest.raises(error):
            database.deliveries.retry(event_id, NOON)

    def test_each_failed_attempt_is_kept(self, database: Database) -> None:
        start(database, 1)
        sender_id = enter(database)
        (delivery,) = database.claims.claim(sender_id, 0, NOW, 1)
        database.deliveries.record(sender_id, [], [failed(delivery)], [])
        assert database.connection.fetch_all("SELECT * FROM attempts") == [(7, 1, NOW, "failed", "550 no")]
        assert database.connection.fetch_all("SELECT hour, sent, deferred, failed FROM hourly_stats") == [
            (NOW // 3600, 0, 0, 1)
        ]


class TestNoMailbox:
    """A server reports that a mailbox does not exist."""

    def refuse(self, database: Database, sender_id: int, at: int = NOW) -> None:
        (claim,) = database.claims.claim(sender_id, 0, at, 9)
        gone = DeliveryUpdate(*key(claim), "failed", "failed", "550 5.1.1", at, hard_bounce=True)
        database.deliveries.record(sender_id, [], [gone], [])

    @pytest.mark.parametrize(("seconds", "active"), [(0, 1), (3599, 1), (3600, 0), (86_400, 0)])
    def test_two_emails_within_an_hour_count_once(self, database: Database, seconds: int, active: int) -> None:
        start(database, 1)
        sender_id = enter(database)
        self.refuse(database, sender_id)
        start(database, 1, EMAIL._replace(event_id=8))
        self.refuse(database, sender_id, NOW + seconds)
        assert database.recipients.counts()["active"] == active

    def test_an_earlier_refusal_that_was_pruned_is_older_than_an_hour(self, database: Database) -> None:
        start(database, 1)
        sender_id = enter(database)
        self.refuse(database, sender_id)
        database.connection.execute("DELETE FROM attempts")
        start(database, 1, EMAIL._replace(event_id=8))
        self.refuse(database, sender_id)
        assert database.recipients.counts()["active"] == 0

    def test_the_same_email_tried_again_says_nothing_new(self, database: Database) -> None:
        start(database, 1)
        sender_id = enter(database)
        self.refuse(database, sender_id)
        database.deliveries.retry(7, NOON)
        self.refuse(database, sender_id)
        assert database.recipients.counts()["active"] == 1

    def test_a_second_email_marks_the_recipient_and_cancels_what_waits(self, database: Database) -> None:
        start(database, 1)
        sender_id = enter(database)
        self.refuse(database, sender_id)
        for event_id in (8, 9):
            start(database, 1, EMAIL._replace(event_id=event_id))
        waiting, refused = database.claims.claim(sender_id, 8, NOW, 9)
        gone = DeliveryUpdate(*key(refused), "failed", "failed", "550 5.1.1", NOW + 3600, hard_bounce=True)
        database.deliveries.record(sender_id, [], [gone], [])
        assert database.recipients.counts()["active"] == 0
        assert database.deliveries.record(sender_id, [], [], [ending(waiting, sender_id)]) == []
        assert database.progress.get(waiting[0]) == (waiting[0], 1, 0, 0, 0, 1)


class TestSenders:
    def test_no_more_senders_than_allowed_are_at_work(self, database: Database, second: Database) -> None:
        assert database.senders.register(1, NOW, in_doubt) is not None
        assert second.senders.register(1, NOW, in_doubt) is None

    def test_a_place_is_free_again_when_its_sender_left(self, database: Database, second: Database) -> None:
        start(database, 2)
        one = enter(database)
        database.claims.claim(one, 0, NOW, 2)
        database.senders.unregister(one, in_doubt)
        two = second.senders.register(1, NOW, in_doubt)
        assert two is not None
        assert len(second.claims.claim(two, 0, NOW, 2)) == 2

    def test_the_heartbeat_of_a_sender_that_leaves_stays(self, database: Database) -> None:
        """Between two rounds of a long sweep no sender is registered, but the sender is not late."""
        one, later = enter(database), database.last_heartbeat_at() + 1000
        assert database.senders.renew(one, later)
        database.senders.unregister(one, in_doubt)
        assert database.health.heartbeat_at() == moment(later)
        two = enter(database)
        database.senders.unregister(two, in_doubt)
        assert database.health.heartbeat_at() == moment(later), "it never goes back"

    def test_a_dead_senders_claims_are_taken_over_and_what_it_ended_is_in_doubt(self, database: Database) -> None:
        start(database, 2)
        one = enter(database)
        first, _ = database.claims.claim(one, 0, NOW, 2)
        database.deliveries.record(one, [], [], [ending(first, one)])
        assert not database.senders.any_dead()
        database.connection.execute("UPDATE senders SET lease_until = lease_until - 60001")
        assert database.senders.any_dead()
        two = enter(database)
        again = [database.deliveries.get(key(claim)) for claim in database.claims.claim(two, 0, NOW, 2)]
        assert [(delivery.attempts, delivery.attempts_in_doubt) for delivery in again] == [(1, 1), (0, 0)]

    def test_a_lease_further_ahead_than_any_reaches_has_ended(self, database: Database) -> None:
        enter(database)
        database.connection.execute("UPDATE senders SET lease_until = lease_until + 60000")
        assert database.senders.any_dead()

    def test_a_step_of_the_wall_clock_steals_nothing(self, database: Database, second: Database) -> None:
        assert database.senders.register(1, NOW, in_doubt) is not None
        assert second.senders.register(1, NOW + 365 * 86400, in_doubt) is None


class TestLog:
    def finished(self, database: Database) -> None:
        start(database, 1)
        send_all(database, enter(database))

    def test_each_finished_email_is_logged_once(self, database: Database) -> None:
        self.finished(database)
        lines: list[int] = []
        database.progress.flush_completion_log(lines.extend)
        database.progress.flush_completion_log(lines.extend)
        assert lines == [7]

    def test_a_line_that_could_not_be_written_stays_owed(self, database: Database) -> None:
        def full(event_ids: list[int]) -> None:
            raise OSError(28, "No space left on device")

        self.finished(database)
        with pytest.raises(OSError, match="No space"):
            database.progress.flush_completion_log(full)
        assert database.has_work(NOW)
        assert database.progress.flush_completion_log(lambda event_ids: None) == 1


class TestSchema:
    def test_making_the_tables_again_changes_nothing(self, settings: Settings, database: Database) -> None:
        secret = database.meta("secret_key")
        assert db_init(settings, NOON) == "up to date"
        assert database.meta("secret_key") == secret
        assert len(secret) == 64

    @pytest.mark.parametrize(("version", "remedy"), [(0, "flask init-db"), (99, "newer program")])
    def test_another_version_is_refused_with_the_remedy(
        self, settings: Settings, database: Database, version: int, remedy: str
    ) -> None:
        database.connection.execute("UPDATE meta SET value = :v WHERE name = 'schema_version'", v=str(version))
        with pytest.raises(SchemaMismatch, match=remedy):
            open_database(settings)

    def test_a_database_without_tables_is_refused(self, where_empty: dict[str, str], tmp_path: Path) -> None:
        settings = load_settings(where_empty, tmp_path)
        if settings.database_path is not None:
            settings.database_path.touch()
        with pytest.raises(DatabaseMissing, match="flask init-db"):
            open_database(settings)


class TestHours:
    def test_what_is_older_than_a_year_becomes_one_row_and_the_sums_stay(self, database: Database) -> None:
        hour, year = NOW // 3600, 366 * 24
        add = "INSERT INTO hourly_stats (hour, sent, failed, late_1, lateness_seconds) VALUES (:hour, 2, 1, 2, 5)"
        for added, ages in enumerate([(0, year, year + 1, 20_000), (year + 5,)]):
            for age in ages:
                database.connection.execute(add, hour=hour - age)
            enter(database)
            assert database.connection.fetch_all("SELECT hour FROM hourly_stats ORDER BY hour") == [
                (0,),
                (hour - year,),
                (hour,),
            ]
            totals = database.health.totals()
            assert (totals.outcomes["sent"], totals.late[0], totals.lateness_seconds) == tuple(
                (4 + added) * each for each in (2, 2, 5)
            )
