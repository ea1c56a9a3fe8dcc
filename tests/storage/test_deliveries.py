"""Operations on deliveries: lists, reasons, retry and decide, on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from database import Claim, Database, DeliveryUpdate, NotInDoubt, NotRetryable
from settings import Settings, load_settings
from tests.support.deliveries import NOON, NOW, address, ending, enter, failed, key, sent, start, status
from tests.support.invariants import check_whole

STATUSES = ("sent", "failed", "unknown", "queued", "sending", "claimed", "cancelled")


@pytest.fixture
def settings(where: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings(where, tmp_path)


@pytest.fixture(autouse=True)
def _whole(database: Database) -> Iterator[None]:
    yield
    check_whole(database)


def unknown(claim: Claim) -> DeliveryUpdate:
    return DeliveryUpdate(*key(claim), "in_doubt", "unknown", "the connection broke", NOW)


def one_of_each(database: Database) -> list[Claim]:
    """The deliveries 1 to 7 of email 7 are in the order of STATUSES."""
    start(database, 7)
    sender_id = enter(database)
    claims = database.claims.claim(sender_id, 0, NOW, 7)
    later = DeliveryUpdate(*key(claims[3]), "deferred", "queued", "450 later", NOW, NOW + 300)
    ends = [ending(claims[0], sender_id), ending(claims[4], sender_id)]
    database.deliveries.record(sender_id, [], [failed(claims[1]), unknown(claims[2]), later], ends)
    database.deliveries.record(sender_id, [sent(claims[0], sender_id)], [], [])
    database.recipients.remove([address(claims[6])], NOON)
    return claims


class TestLists:
    def test_pages_go_on_after_the_last_recipient(self, database: Database) -> None:
        one_of_each(database)
        first = database.deliveries.page(7, limit=4)
        assert first.next_after == 4
        rest = database.deliveries.page(7, after=4, limit=4)
        assert rest.next_after is None
        assert tuple(row.status for row in first.rows + rest.rows) == STATUSES

    @pytest.mark.parametrize("wanted", STATUSES)
    def test_a_status_is_a_list_of_its_own(self, database: Database, wanted: str) -> None:
        one_of_each(database)
        rows, next_after = database.deliveries.page(7, status=wanted)
        assert [(row.recipient_id, row.status) for row in rows] == [(STATUSES.index(wanted) + 1, wanted)]
        assert next_after is None

    @pytest.mark.parametrize("wanted", [None, *STATUSES])
    def test_a_bounded_search_finds_everything_in_the_end(
        self, database: Database, wanted: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storage.deliveries.listing.WINDOW_SIZE", 2)
        one_of_each(database)
        found, after = [], 0
        while True:
            rows, next_after = database.deliveries.page(7, after=after, limit=1, status=wanted)
            found += [row.status for row in rows]
            if next_after is None:
                break
            assert next_after > after
            after = next_after
        assert tuple(found) == ((wanted,) if wanted else STATUSES)

    def test_a_row_has_the_servers_reply_and_its_time(self, database: Database) -> None:
        one_of_each(database)
        (row,), _ = database.deliveries.page(7, status="failed")
        assert row == (2, "p1@example.com", "failed", 1, NOON, NOON, "550 no")
        assert database.deliveries.attempts(7, 2) == [(NOON, "failed", "550 no")]
        assert database.deliveries.attempts(7, 1) == []

    def test_reasons_are_grouped_by_the_servers_codes(self, database: Database) -> None:
        start(database, 5)
        sender_id = enter(database)
        replies = ["550 5.1.1 <a> unknown", "550 5.1.1 <b> unknown", "550-5.7.1 spam", "552 full", "no route"]
        for claim, reply in zip(database.claims.claim(sender_id, 0, NOW, 5), replies, strict=True):
            database.deliveries.record(sender_id, [], [failed(claim)._replace(reply=reply)], [])
        assert database.deliveries.reasons(7) == [
            ("failed", "550 5.1.1", 2, "p0@example.com", "550 5.1.1 <a> unknown"),
            ("failed", "550 5.7.1", 1, "p2@example.com", "550-5.7.1 spam"),
            ("failed", "552", 1, "p3@example.com", "552 full"),
            ("failed", "no route", 1, "p4@example.com", "no route"),
        ]


def blocked_retries(database: Database) -> None:
    """Email 7 failed for 5 recipients: 2 are rejected now, 1 was removed, 1 has unsubscribed, and 1 is active."""
    start(database, 5)
    sender_id = enter(database)
    claims = database.claims.claim(sender_id, 0, NOW, 5)
    database.deliveries.record(sender_id, [], [failed(claim) for claim in claims], [])
    database.connection.execute("UPDATE recipients SET status = 'rejected' WHERE recipient_id IN (1, 2)")
    database.recipients.remove([address(claims[2])], NOON)
    database.recipients.unsubscribe(4, NOON)


class TestRetry:
    def test_a_retry_queues_exactly_those_asked_for(self, database: Database) -> None:
        one_of_each(database)
        assert database.deliveries.retry(7, NOON, recipient_ids=[3, 1, 99]) == 1
        assert database.progress.get(7) == (7, 7, 1, 1, 0, 1)
        assert database.deliveries.retry(7, NOON, statuses=("failed",)) == 1
        assert database.deliveries.retry(7, NOON) == 0

    def test_only_recipients_who_are_still_active_get_a_retry(self, database: Database) -> None:
        start(database, 4)
        sender_id = enter(database)
        claims = database.claims.claim(sender_id, 0, NOW, 4)
        database.deliveries.record(sender_id, [], [failed(claim) for claim in claims], [])
        database.recipients.unsubscribe(1, NOON)
        database.recipients.unsubscribe(2, NOON)
        database.recipients.remove([address(claims[1]), address(claims[2])], NOON)
        assert database.deliveries.retry(7, NOON, recipient_ids=[1, 2, 3, 4]) == 1
        assert [row.recipient_id for row in database.deliveries.page(7, status="queued").rows] == [4]

    def test_what_cannot_be_retried_is_counted_by_what_became_of_the_recipient(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storage.deliveries.retry.BATCH_SIZE", 2)
        blocked_retries(database)
        for ids in (None, [1, 2, 3, 4, 5, 99]):
            standings = database.deliveries.standings(7, ids)
            assert standings.blocked("failed") == {"rejected": 2, "removed": 1, "unsubscribed": 1}
            assert (standings.retryable("failed"), standings.retryable("unknown")) == (1, 0)
        assert database.deliveries.standings(7, [1, 2]).blocked("failed", "unknown") == {"rejected": 2}
        assert not database.deliveries.standings(7, limit=4).is_complete
        assert database.deliveries.retry(7, NOON) == 1
        standings = database.deliveries.standings(7)
        assert standings.retryable("failed") == 0 and standings.blocked("failed") != {}

    def test_recipients_whom_a_server_rejected_are_made_active_again(self, database: Database) -> None:
        blocked_retries(database)
        assert database.deliveries.reactivate_rejected(7) == 2
        assert database.deliveries.reactivate_rejected(7) == 0
        assert database.recipients.counts() == {"active": 3, "unsubscribed": 1, "rejected": 0}
        assert database.deliveries.retry(7, NOON, ["failed"]) == 3

    def test_a_delivery_that_was_never_attempted_is_not_retried(self, database: Database) -> None:
        one_of_each(database)
        assert database.deliveries.retry(7, NOON, statuses=("sent", "queued"), recipient_ids=[1]) == 0

    def test_a_retry_forgets_earlier_doubts(self, database: Database) -> None:
        one_of_each(database)
        assert database.deliveries.get((7, 3)).attempts_in_doubt == 1
        assert database.deliveries.retry(7, NOON + timedelta(seconds=1), recipient_ids=[3]) == 1
        again = database.deliveries.get((7, 3))
        assert (again.attempts, again.attempts_in_doubt, again.queued_at) == (1, 0, NOW + 1)

    def test_more_than_fit_into_one_transaction(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("storage.deliveries.retry.BATCH_SIZE", 2)
        start(database, 5)
        sender_id = enter(database)
        claims = database.claims.claim(sender_id, 0, NOW, 5)
        database.deliveries.record(sender_id, [], [failed(claim) for claim in claims], [])
        assert status(database) == "sent"
        assert database.deliveries.retry(7, NOON) == 5
        assert status(database) == "sending"

    def test_nothing_of_a_cancelled_email_is_tried_again(self, database: Database) -> None:
        one_of_each(database)
        database.emails.cancel(7, NOON)
        with pytest.raises(NotRetryable) as caught:
            database.deliveries.retry(7, NOON)
        assert caught.value.status == "cancelled"


class TestAttempts:
    def test_attempts_of_many_deliveries_are_those_of_each(self, database: Database) -> None:
        one_of_each(database)
        found = database.deliveries.attempts_of_each(7, [1, 2, 3, 4])
        assert found == {number: database.deliveries.attempts(7, number) for number in (1, 2, 3, 4)}
        outcomes = [[attempt.outcome for attempt in attempts] for attempts in found.values()]
        assert outcomes == [[], ["failed"], ["in_doubt"], ["deferred"]]
        assert database.deliveries.attempts_of_each(7, []) == {}


class TestDecide:
    @pytest.mark.parametrize("wanted", ["sent", "failed"])
    def test_a_person_says_what_became_of_an_unknown_one(self, database: Database, wanted: str) -> None:
        one_of_each(database)
        database.deliveries.decide(7, 3, wanted, NOON)
        (row,) = (row for row in database.deliveries.page(7).rows if row.recipient_id == 3)
        assert row.status == wanted
        assert (row.reply or "").startswith("marked as ")
        sent_and_failed = (2, 1) if wanted == "sent" else (1, 2)
        progress = database.progress.get(7)
        assert progress is not None
        assert (progress.sent, progress.failed, progress.unknown) == (*sent_and_failed, 0)
        assert database.connection.fetch_one("SELECT sent, failed FROM hourly_stats") == sent_and_failed

    @pytest.mark.parametrize(("recipient_id", "found"), [(1, "sent"), (99, None)])
    def test_only_an_unknown_one_is_decided(self, database: Database, recipient_id: int, found: str | None) -> None:
        one_of_each(database)
        with pytest.raises(NotInDoubt) as caught:
            database.deliveries.decide(7, recipient_id, "sent", NOON)
        assert caught.value.status == found

    @pytest.mark.parametrize("wanted", ["sent", "failed"])
    @pytest.mark.parametrize("recipient_ids", [None, [1, 2, 3, 3, 99]])
    def test_many_are_decided_at_once_and_only_the_unknown_ones(
        self, database: Database, wanted: str, recipient_ids: list[int] | None
    ) -> None:
        one_of_each(database)
        assert database.deliveries.decide_each(7, wanted, NOON, recipient_ids) == 1
        assert database.deliveries.decide_each(7, wanted, NOON, recipient_ids) == 0
        assert [row.recipient_id for row in database.deliveries.page(7, status="unknown").rows] == []
        (row,) = (row for row in database.deliveries.page(7).rows if row.recipient_id == 3)
        assert row.status == wanted
        outcomes = [attempt.outcome for attempt in database.deliveries.attempts(7, 3)]
        assert outcomes == ["in_doubt", "failed"][: 1 + (wanted == "failed")]
