"""Imports of recipients, from the upload to undoing them, on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from database import Address, Audience, Database, Email, Import
from storage.recipients import imports as recipient_imports
from storage.recipients import undoing
from storage.recipients.imports import Comparison
from tests.support.deliveries import EMAIL, NOON, NOW, addresses, ending, enter, failed, key, send_all, sent

FOUND = Comparison(3, 0, 0, 0)
PARTS = (b"\xff\x00\r\n\\x41", b"b" * 1000)


def get(database: Database, import_id: int = 1) -> Import:
    found = database.imports.get(import_id)
    assert found
    return found


def make_ready(database: Database, import_id: int) -> None:
    texts = {"preview": '{"rows": []}', "invalid_lines": "line,reason\r\n"}
    database.imports.ready(import_id, FOUND, valid=4, invalid=1, skipped=2, **texts)


def ready(database: Database) -> int:
    """Return an import whose file has been read."""
    import_id = database.imports.create("people.csv", PARTS, NOON)
    make_ready(database, import_id)
    return import_id


def imported(database: Database, count: int = 3) -> int:
    """Return a completed import."""
    import_id = ready(database)
    assert database.imports.begin(import_id, "import", NOON)
    assert database.imports.finish(import_id, addresses(count), NOON)
    return import_id


def undo(database: Database, import_id: int = 1) -> Import:
    assert database.imports.begin(import_id, "undo", NOON)
    while database.imports.undo_some(import_id, NOON):
        pass
    return get(database, import_id)


def names(database: Database) -> list[str]:
    return [recipient.address.partition("@")[0] for recipient in database.recipients.page()]


def statuses(database: Database) -> list[tuple[int, str]]:
    """Return the recipient and the status of each delivery."""
    return database.connection.fetch_all("SELECT recipient_id, status FROM deliveries ORDER BY recipient_id")


class TestSteps:
    def test_a_file_is_kept_as_it_was_until_it_is_imported(self, database: Database) -> None:
        import_id = database.imports.create("Größe.csv", PARTS, NOON)
        assert [database.imports.part(import_id, part) for part in range(3)] == [*PARTS, b""]
        found = get(database, import_id)
        assert (found.file_name, found.status, found.size, found.created_at) == ("Größe.csv", "reading", 1008, NOON)
        make_ready(database, import_id)
        assert database.imports.invalid_lines(import_id) == "line,reason\r\n"
        assert database.imports.begin(import_id, "import", NOON)
        assert database.imports.finish(import_id, addresses(3), NOON)
        found = get(database, import_id)
        assert (found.status, found.finished_at, found.added) == ("done", NOON, 3)
        assert (found.valid, found.invalid, found.skipped, found.duplicates) == (4, 1, 2, 1)
        assert database.imports.part(import_id, 0) == b""
        assert names(database) == ["p0", "p1", "p2"]

    def test_what_would_happen_is_what_happens(self, database: Database) -> None:
        database.recipients.add(addresses(5), NOON)
        for recipient_id in (1, 2):
            database.recipients.unsubscribe(recipient_id, NOON)
        database.recipients.remove(addresses(1), NOON)
        database.connection.execute("UPDATE recipients SET status = 'rejected' WHERE recipient_id = 3")
        before = database.recipients.page()
        foreseen = database.imports.compare([*addresses(8), Address("P7@example.com", "p7@example.com")])
        assert foreseen == (3, 2, 2, 1)
        assert database.recipients.page() == before
        found = get(database, imported(database, 8))
        assert (found.added, found.existing, found.unsubscribed, found.rejected) == foreseen
        assert database.recipients.page()[:4] == before
        assert names(database) == ["p1", "p2", "p3", "p4", "p5", "p6", "p7"]  # p0 unsubscribed, and was removed

    def test_an_import_happens_once(self, database: Database, second: Database) -> None:
        import_id = ready(database)
        assert database.imports.begin(import_id, "import", NOON)
        assert not second.imports.begin(import_id, "import", NOON)
        assert database.imports.finish(import_id, addresses(2), NOON)
        assert not second.imports.finish(import_id, addresses(3), NOON)
        assert not second.imports.begin(import_id, "import", NOON)
        assert names(database) == ["p0", "p1"]

    def test_an_import_that_breaks_adds_nobody_and_can_begin_again(self, database: Database) -> None:
        def broken() -> Iterator[Address]:
            yield from addresses(5)
            raise ValueError("line 6")

        import_id = ready(database)
        assert database.imports.begin(import_id, "import", NOON)
        with pytest.raises(ValueError, match="line 6"):
            database.imports.finish(import_id, broken(), NOON)
        assert names(database) == []
        database.imports.break_off(import_id, "the disk is full")
        assert get(database).is_broken_off(NOON) and get(database).error == "the disk is full"
        assert database.imports.begin(import_id, "import", NOON)
        assert get(database).error is None
        assert database.imports.finish(import_id, addresses(1), NOON)

    @pytest.mark.parametrize(("step", "status"), [("read", "reading"), ("import", "importing"), ("undo", "undoing")])
    def test_another_goes_on_when_the_heartbeat_has_stopped(self, database: Database, step: str, status: str) -> None:
        import_id = ready(database)
        database.connection.execute("UPDATE imports SET status = :status", status=status)
        late = NOON + timedelta(seconds=recipient_imports.HEARTBEAT_TIMEOUT_SECONDS)
        too_late = late + timedelta(seconds=1)
        assert get(database).is_running(late) and not get(database).is_broken_off(late)
        assert not database.imports.begin(import_id, step, late)
        assert get(database).is_broken_off(too_late)
        assert database.imports.begin(import_id, step, too_late)
        assert not database.imports.begin(import_id, step, too_late)
        assert get(database).is_running(too_late)

    def test_its_progress_is_noted(self, database: Database) -> None:
        import_id = database.imports.create("people.csv", PARTS, NOON)
        database.imports.note(import_id, 500, NOON + timedelta(seconds=9))
        assert (get(database).position, get(database).heartbeat_at) == (500, NOON + timedelta(seconds=9))
        make_ready(database, import_id)
        database.imports.note(import_id, 600, NOON + timedelta(seconds=10))
        assert get(database).position == 1008

    def test_a_refused_file_is_not_kept(self, database: Database) -> None:
        import_id = database.imports.create("people.csv", PARTS, NOON)
        database.imports.refuse(import_id, "it is empty")
        assert (get(database).status, get(database).error) == ("refused", "it is empty")
        assert database.imports.part(import_id, 0) == b""
        assert not any(database.imports.begin(import_id, step, NOON) for step in recipient_imports.STEPS)

    def test_only_what_was_not_imported_can_be_discarded(self, database: Database) -> None:
        import_id = ready(database)
        assert database.imports.discard(import_id) and not database.imports.discard(import_id)
        assert database.imports.get(import_id) is None and database.imports.part(import_id, 0) == b""
        done = imported(database)
        assert not database.imports.discard(done) and get(database, done).status == "done"

    def test_old_ones_are_forgotten(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        waiting, done = ready(database), imported(database)
        next_day = NOON + timedelta(seconds=recipient_imports.UNUSED_RETENTION_SECONDS + 1)
        third = database.imports.create("a.csv", PARTS, next_day)
        assert [each.import_id for each in database.imports.recent()] == [third, done]
        assert database.imports.part(waiting, 0) == b"" and database.imports.part(third, 0) == PARTS[0]
        monkeypatch.setattr(recipient_imports, "MAX_KEPT", 2)
        fourth = database.imports.create("b.csv", PARTS, next_day)
        assert [each.import_id for each in database.imports.recent()] == [fourth, third]
        fifth = database.imports.create(
            "c.csv", PARTS, next_day + timedelta(seconds=recipient_imports.RETENTION_SECONDS + 1)
        )
        assert [each.import_id for each in database.imports.recent()] == [fifth]


class TestUndoing:
    def test_an_undo_removes_exactly_the_recipients_that_the_import_added(
        self, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(undoing, "BATCH_SIZE", 3)
        database.recipients.add([*addresses(2), Address("b@example.com", "b@example.com")], NOON)
        import_id = imported(database, 10)
        database.recipients.add([Address("z@example.com", "z@example.com")], NOON)
        found = undo(database, import_id)
        assert (found.status, found.removed, found.kept) == ("undone", 8, 0)
        assert names(database) == ["b", "p0", "p1", "z"]
        assert not database.imports.begin(import_id, "undo", NOON + timedelta(seconds=999))

    def test_an_undo_leaves_alone_those_who_left_since(self, database: Database) -> None:
        import_id = imported(database, 4)
        database.recipients.unsubscribe(1, NOON)
        database.recipients.unsubscribe(2, NOON)
        database.recipients.remove(addresses(1), NOON)
        found = undo(database, import_id)
        assert (found.removed, found.kept) == (2, 1)
        assert [each.status for each in database.recipients.page()] == ["unsubscribed"]
        assert database.imports.compare(addresses(2)).unsubscribed == 2

    def test_an_undo_keeps_those_whom_an_email_names(self, database: Database) -> None:
        import_id = imported(database, 4)
        later = NOON + timedelta(days=1)
        database.emails.save(Email(7, "s", "c", later, audience=Audience(to=tuple(addresses(2)))), NOON)
        found = undo(database, import_id)
        assert (found.removed, found.kept) == (2, 2)
        assert database.audiences.count_of(7, "named").recipients == 2

    def test_an_undo_keeps_those_who_were_sent_something_and_the_others_receive_nothing_more(
        self, database: Database
    ) -> None:
        import_id = imported(database, 5)
        for event_id in (7, 8):
            database.emails.save(EMAIL._replace(event_id=event_id), NOON)
        database.progress.start_due_emails(NOW)
        sender_id = enter(database)
        first, second, third, _ = database.claims.claim(sender_id, 7, NOW, 4)
        assert key(first) == (8, 1)
        database.deliveries.record(
            sender_id, [], [failed(second)], [ending(first, sender_id), ending(third, sender_id)]
        )
        database.deliveries.record(sender_id, [sent(first, sender_id)], [], [])
        found = undo(database, import_id)
        assert (found.removed, found.kept) == (2, 3)
        assert names(database) == ["p0", "p1", "p2"]
        assert statuses(database) == [(1, "sent"), (2, "failed"), (3, "sending"), (4, "cancelled")]
        database.deliveries.record(sender_id, [sent(third, sender_id)], [], [])
        send_all(database, sender_id)
        assert [status for _, status in statuses(database)].count("sent") == 5

    def test_an_email_that_is_only_waiting_for_them_is_finished(self, database: Database) -> None:
        import_id = imported(database, 2)
        database.emails.save(EMAIL, NOON)
        database.progress.start_due_emails(NOW)
        database.claims.claim(enter(database), 0, NOW, 9)
        assert undo(database, import_id).removed == 2
        summary = database.emails.summary(7)
        assert summary and summary.status == "sent" and summary.cancelled == 2

    def test_an_interrupted_undo_is_continued(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(undoing, "BATCH_SIZE", 2)
        import_id = imported(database, 5)
        assert database.imports.begin(import_id, "undo", NOON)
        assert database.imports.undo_some(import_id, NOON)
        assert (get(database).position, get(database).removed) == (2, 2)
        database.imports.break_off(import_id, "the database was away")
        found = undo(database, import_id)
        assert (found.status, found.position, found.removed) == ("undone", 5, 5)
        assert names(database) == []
