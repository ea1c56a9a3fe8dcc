"""Who an email is for: how it is saved, compared, started and claimed; on every kind of database."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from database import (
    EVERYONE,
    Address,
    Audience,
    AudienceCount,
    Database,
    Email,
    EventIdUsed,
    ListArchived,
    ListInBoth,
    NoActiveRecipients,
    NoSuchList,
    ReplaceResult,
    SaveResult,
)
from storage.emails import require_saved
from tests.support.deliveries import EMAIL, NOON, NOW, enter, send_all, status
from tests.support.people import people, recipient_id

LATER = NOON + timedelta(hours=1)


def make_list(database: Database, name: str, *names: str) -> None:
    database.lists.add(name, NOON)
    database.lists.add_members(name, people(*names), NOON, "program")


def to(*lists: str, but: Sequence[str] = (), **changes: object) -> Email:
    return EMAIL._replace(audience=Audience(lists, tuple(but)), **changes)  # type: ignore[arg-type]


def named(*names: str, **changes: object) -> Email:
    return EMAIL._replace(audience=Audience(to=people(*names)), **changes)  # type: ignore[arg-type]


def held(database: Database, email: Email = EMAIL) -> str | None:
    """Save the email if it is new, start it, and return why it is on hold."""
    if database.emails.get(email.event_id) is None:
        database.emails.save(email, NOON)
    ((event_id, reason),) = database.progress.start_due_emails(NOW)
    assert event_id == email.event_id
    return reason


def received(database: Database, event_id: int = 7) -> list[str]:
    """Send everything, and return who got the email."""
    send_all(database, enter(database))
    database.connection.execute("DELETE FROM senders")
    rows = database.deliveries.page(event_id, status="sent").rows
    return sorted(row.address.partition("@")[0] for row in rows)


@pytest.fixture
def filled(database: Database) -> Database:
    """Lists a (ada, bob, eve) and B (bob, ina), and zoe, who is in no list."""
    make_list(database, "a", "ada", "bob", "eve")
    make_list(database, "B", "bob", "ina")
    database.recipients.add(people("zoe"), NOON)
    return database


class TestSaving:
    def test_all_facts_are_saved(self, filled: Database) -> None:
        facts = {"recipients_max": 9, "reply_to": "x@example.com", "from_name": "Ada", "personal": True}
        for number, audience in enumerate(
            [EVERYONE, Audience(("A", "b")), Audience(("a",), ("B",)), Audience((), ("b",)), Audience(to=people("Q"))]
        ):
            email = EMAIL._replace(event_id=number, audience=audience, **facts)  # type: ignore[arg-type]
            filled.emails.save(email, NOON)
            saved = filled.emails.get(number)
            assert saved is not None
            assert saved.audience.is_same(audience)
            assert saved._replace(audience=audience, created_at=None) == email
            text = filled.emails.text_to_send(number)
            assert (text.reply_to, text.from_name, text.personal) == ("x@example.com", "Ada", True)
            assert text.list_name == ("a" if number == 2 else None)

    @pytest.mark.parametrize(
        "other",
        [
            EMAIL,
            to("a"),
            to("a", "b", but=["c"]),
            to(but=["a", "b"]),
            named("ada"),
            to("a", "b", recipients_max=8),
            to("a", "b", reply_to="x@example.com"),
            to("a", "b", from_name="Ada"),
            to("a", "b", personal=True),
        ],
    )
    def test_every_fact_counts_when_emails_are_compared(self, filled: Database, other: Email) -> None:
        filled.lists.add("c", NOON)
        email = to("a", "b")
        filled.emails.save(email, NOON)
        for one, another in ((email, other), (other._replace(event_id=8), email._replace(event_id=8))):
            if one.event_id == 8:
                filled.emails.save(one, NOON)
            assert filled.emails.compare(one) is SaveResult.IDENTICAL
            assert filled.emails.compare(another) is SaveResult.DIFFERENT

    def test_the_order_and_case_of_lists_and_addresses_do_not_count(self, filled: Database) -> None:
        filled.emails.save(to("a", "B", "A"), NOON)
        assert filled.emails.compare(to("b", "A")) is SaveResult.IDENTICAL
        filled.emails.save(named("ada", "New", "NEW", event_id=8), NOON)
        assert filled.emails.compare(named("new", "ADA", event_id=8)) is SaveResult.IDENTICAL
        filled.recipients.remove(people("new"), NOON)
        assert filled.emails.compare(named("new", "ada", event_id=8)) is SaveResult.IDENTICAL

    def test_unknown_and_archived_lists_are_refused_and_nothing_is_saved(self, filled: Database) -> None:
        filled.lists.archive("B", NOON)
        for email, error, text in (
            (to("a", "C"), NoSuchList, 'there is no list "C"; existing lists: a'),
            (to("a", but=["gone"]), NoSuchList, 'there is no list "gone"'),
            (to("b"), ListArchived, 'the list "b" is archived'),
            (to("a", but=["A"]), ListInBoth, 'the list "A" is both included and excluded'),
        ):
            for act in (
                filled.emails.save,
                filled.emails.replace,
                lambda email, now: filled.audiences.count(email.audience),
            ):
                with pytest.raises(error, match=text):
                    act(email, NOON)
            with pytest.raises(error, match=text):
                filled.emails.save_many([EMAIL, email._replace(event_id=8)], NOON)
        assert filled.emails.page() == []

    def test_one_bad_email_does_not_fail_the_others_of_its_group(self, filled: Database) -> None:
        emails = [to("a"), to("nobody", event_id=8), named("q", event_id=9), EMAIL._replace(event_id=10), to("b")]
        results = filled.emails.save_group(lambda: [(email, NOON) for email in emails])
        assert [result for result in results if isinstance(result, SaveResult)] == [
            *("saved", "saved", "saved", "different")
        ]
        with pytest.raises(NoSuchList, match=r'"nobody"; existing lists: a, B$'):
            require_saved(emails[1], results[1])
        assert filled.emails.get(8) is None
        assert received_by_all(filled) == {7: ["ada", "bob", "eve"], 9: ["q"], 10: ["ada", "bob", "eve", "ina", "zoe"]}

    def test_a_repeated_email_is_recognised_after_its_list_was_archived(self, filled: Database) -> None:
        filled.emails.save(to("a", "b"), NOON)
        filled.lists.archive("a", NOON)
        for email, identical in ((to("b", "a"), True), (to("a"), False)):
            with pytest.raises(EventIdUsed) as error:
                filled.emails.save(email, NOON)
            assert error.value.identical is identical
        assert filled.emails.replace(to("a", "b"), NOON) is ReplaceResult.UNCHANGED
        with pytest.raises(ListArchived):
            filled.emails.replace(to("a"), NOON)

    def test_another_audience_replaces_the_first(self, filled: Database) -> None:
        filled.emails.save(to("a", but=["b"]), NOON)
        for email in (named("ada", "q"), to("b"), EMAIL, to(but=["a"])):
            assert filled.emails.replace(email, NOON) is ReplaceResult.REPLACED
            assert filled.emails.replace(email, NOON) is ReplaceResult.UNCHANGED
        assert held(filled) is None
        assert received(filled) == ["ina", "zoe"]

    def test_an_email_for_everyone_costs_one_statement(self, filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        statements: list[str] = []
        for name in ("execute", "executemany", "fetch_all", "fetch_one", "execute_pipelined"):
            monkeypatch.setattr(filled.connection, name, _counted(getattr(filled.connection, name), statements))
        filled.emails.save(EMAIL, NOON)
        # fetch_one calls fetch_all on SQLite, and the transaction itself executes BEGIN and COMMIT
        assert sum("INTO" in sql or "lists" in sql or "recipients" in sql.split("(")[0] for sql in statements) == 1

    def test_the_list_is_named_in_an_email_to_one_list_alone(self, filled: Database) -> None:
        for number, (email, name) in enumerate(
            [(EMAIL, None), (to("A"), "a"), (to("a", "b"), None), (to("b", but=["a"]), "B"), (to(but=["a"]), None)]
        ):
            filled.emails.save(email._replace(event_id=number), NOON)
            assert filled.emails.text_to_send(number).list_name == name


def _counted(act: object, statements: list[str]) -> object:
    def counted(sql: object, *values: object, **named_values: object) -> object:
        statements.append(str(sql))
        return act(sql, *values, **named_values)  # type: ignore[operator]

    return counted


def received_by_all(database: Database) -> dict[int, list[str]]:
    assert not any(started.held_because for started in database.progress.start_due_emails(NOW))
    received(database)
    rows = database.connection.fetch_all("SELECT event_id, address FROM deliveries WHERE status = 'sent'")
    got: dict[int, list[str]] = {}
    for event_id, address in sorted(rows):
        got.setdefault(event_id, []).append(address.partition("@")[0])
    return got


class TestReceiving:
    def test_an_email_reaches_its_audience_and_nobody_else(self, filled: Database) -> None:
        audiences = [
            (EVERYONE, "ada bob eve ina zoe"),
            (Audience(("a",)), "ada bob eve"),
            (Audience(("a", "b")), "ada bob eve ina"),
            (Audience(("a",), ("b",)), "ada eve"),
            (Audience(("a", "b"), ("empty",)), "ada bob eve ina"),
            (Audience((), ("b",)), "ada eve zoe"),
            (Audience((), ("a", "b")), "zoe"),
            (Audience(to=people("ada", "zoe", "ADA")), "ada zoe"),
        ]
        filled.lists.add("empty", NOON)
        for number, (audience, _) in enumerate(audiences):
            filled.emails.save(EMAIL._replace(event_id=number, audience=audience), NOON)
        got = received_by_all(filled)
        assert got == {number: names.split() for number, (_, names) in enumerate(audiences)}
        for number in range(len(audiences)):
            summary = filled.emails.summary(number)
            assert summary is not None
            assert (summary.status, summary.sent, summary.deliveries) == ("sent", len(got[number]), len(got[number]))
            ((count,),) = filled.connection.fetch_all("SELECT recipients FROM progress WHERE event_id = :n", n=number)
            assert count == len(got[number])

    def test_inactive_recipients_get_nothing_and_are_counted(self, filled: Database) -> None:
        filled.recipients.unsubscribe(recipient_id(filled, "bob"), NOON)
        filled.connection.execute("UPDATE recipients SET status = 'rejected' WHERE address LIKE 'ina%'")
        audiences = [
            (EVERYONE, "ada eve zoe", 1, 1),
            (Audience(("a",)), "ada eve", 1, 0),
            (Audience(("a", "b")), "ada eve", 1, 1),
            (Audience(("b",), ("a",)), "", 0, 1),
            (Audience((), ("b",)), "ada eve zoe", 0, 0),
            (Audience(to=people("ina", "bob", "zoe", "new", "New")), "new zoe", 1, 1),
        ]
        for number, (audience, names, unsubscribed, rejected) in enumerate(audiences):
            assert filled.audiences.count(audience) == AudienceCount(len(names.split()), unsubscribed, rejected)
            filled.emails.save(EMAIL._replace(event_id=number, audience=audience), NOON)
        started = dict(filled.progress.start_due_emails(NOW))
        assert [number for number, reason in started.items() if reason] == [3]
        received(filled)
        rows = sorted(filled.connection.fetch_all("SELECT event_id, address FROM deliveries"))
        assert rows == [
            (number, f"{name}@example.com")
            for number, (_, names, _, _) in enumerate(audiences)
            for name in names.split()
        ]

    def test_one_list_is_counted_alike_whether_few_or_most_are_inactive(self, filled: Database) -> None:
        for names in (["bob"], ["ina", "zoe"], ["ada"], ["eve"]):
            for name in names:
                filled.recipients.unsubscribe(recipient_id(filled, name), NOON)
            one, both = filled.audiences.count(Audience(("a",))), filled.audiences.count(Audience(("a", "a", "a")))
            assert one == both
            left = 3 - sum(name in ("ada", "bob", "eve") for name in inactive(filled))
            assert one == AudienceCount(left, 3 - left, 0)

    def test_named_recipients_never_get_what_everyone_gets(self, database: Database) -> None:
        database.emails.save(named("ada", "bob"), NOON)
        assert database.recipients.counts()["active"] == 0
        assert received_by_all(database) == {7: ["ada", "bob"]}
        assert held(database, EMAIL._replace(event_id=8)) == "there were no active recipients when it was due"
        database.recipients.add(people("BOB"), NOON)
        database.lists.add("a", NOON)
        database.emails.save(named("eve", event_id=9), NOON)
        database.lists.add_members("a", people("eve"), NOON, "page")
        assert database.recipients.counts()["active"] == 2
        database.emails.save(EMAIL._replace(event_id=10), NOON)
        assert received_by_all(database) == {7: ["ada", "bob"], 9: ["eve"], 10: ["bob", "eve"]}

    def test_a_removed_recipient_who_is_named_again_is_written_to_by_name_only(self, filled: Database) -> None:
        filled.lists.leave(recipient_id(filled, "ada"), [filled.lists.require("a").list_id], NOON)
        filled.recipients.unsubscribe(recipient_id(filled, "bob"), NOON)
        filled.recipients.remove(people("ada", "bob", "eve"), NOON)
        filled.emails.save(named("ada", "bob", "eve"), NOON)
        filled.emails.save(EMAIL._replace(event_id=8), NOON)
        assert received_by_all(filled) == {7: ["ada", "eve"], 8: ["ina", "zoe"]}

    def test_windows_of_inactive_people_do_not_stop_a_claim(self, database: Database) -> None:
        people = [Address(f"p{n}@example.com", f"p{n}@example.com") for n in range(300)]
        for name in ("a", "b", "c"):
            database.lists.add(name, NOON)
            database.lists.add_members(name, people, NOON, "page")
        database.lists.remove_member("c", people[99], NOON)  # the last by key
        database.connection.execute("UPDATE recipients SET status = 'rejected' WHERE recipient_id < 299")
        for number, email in enumerate([to("a"), to("a", "b"), to(but=["c"]), to("a", "b", but=["c"])]):
            database.emails.save(email._replace(event_id=number), NOON)
        assert not any(started.held_because for started in database.progress.start_due_emails(NOW))
        sender_id = enter(database)
        claimed = []
        while claims := database.claims.claim(sender_id, 0, NOW, 1):
            claimed += claims
        assert len({claim[:2] for claim in claimed}) == len(claimed) == 2 + 2 + 1 + 1

    def test_who_joins_a_list_after_the_start_gets_nothing(self, filled: Database) -> None:
        database = filled
        assert held(database, to("a", "b")) is None
        database.lists.add_members("a", people("zoe", "ina", "new"), LATER, "page")
        assert received(database) == ["ada", "bob", "eve", "ina"]

    def test_a_wrong_clock_leaves_out_nobody(self, filled: Database) -> None:
        filled.lists.add_members("a", people("zoe"), NOON + timedelta(days=9999), "page")
        filled.lists.add_members("a", people("new"), NOON, "page")
        assert held(filled, to("a")) is None
        assert received(filled) == ["ada", "bob", "eve", "new", "zoe"]

    def test_an_excluded_list_counts_until_the_delivery_exists(self, filled: Database) -> None:
        assert held(filled, to("a", but=["b"])) is None
        filled.lists.add_members("b", people("eve"), LATER, "page")
        assert received(filled) == ["ada"]


def inactive(database: Database) -> list[str]:
    return [each.address.partition("@")[0] for each in database.recipients.page(status="unsubscribed")]


class TestHolding:
    def test_a_list_that_is_renamed_or_archived_still_gets_the_email(self, filled: Database) -> None:
        filled.emails.save(to("a"), NOON)
        filled.lists.rename("a", "c", NOON)
        filled.lists.archive("c", NOON)
        filled.lists.add("a", NOON)
        assert held(filled, to("a")) is None
        assert received(filled) == ["ada", "bob", "eve"]

    def test_an_email_is_held_at_once_when_its_list_is_deleted(self, filled: Database) -> None:
        filled.emails.save(to("a", "b", due_at=LATER), NOON)
        filled.emails.save(to("b", but=["a"], event_id=8), NOON)
        filled.emails.save(to("b", event_id=9), NOON)
        filled.lists.delete("A", NOON)
        summaries = [filled.emails.summary(number) for number in (7, 8, 9)]
        assert [each and each.held_because for each in summaries] == [
            'its list "a" was deleted',
            'the list "a", which is excluded, was deleted',
            None,
        ]
        for number, reason in ((7, 'its list "a"'), (8, 'the list "a", which is excluded,')):
            with pytest.raises(NoActiveRecipients, match=f"email {number} stays on hold: {reason} was deleted"):
                filled.emails.release(number, NOON)
        filled.lists.add("a", NOON)
        assert filled.emails.release(7, NOON) == "scheduled"
        assert filled.emails.release(8, NOON) == "sending"
        filled.lists.add_members("a", people("zoe"), NOON, "page")
        filled.emails.reschedule(7, NOON, NOON)
        assert received_by_all(filled) == {7: ["bob", "ina", "zoe"], 8: ["bob", "ina"], 9: ["bob", "ina"]}

    @pytest.mark.parametrize(
        ("email", "reason"),
        [
            (to("empty"), 'nobody was left on its list "empty" when it was due'),
            (to("empty", "other"), "nobody was left on its lists when it was due"),
            (to("a", but=["a2"]), "nobody was left in its audience when it was due"),
            (to(but=["a2", "b", "c"]), "nobody was left in its audience when it was due"),
            (named("gone"), "none of its recipients was active when it was due"),
        ],
    )
    def test_an_email_is_held_if_nobody_is_left(self, filled: Database, email: Email, reason: str) -> None:
        make_list(filled, "a2", "ada", "bob", "eve", "uma")
        make_list(filled, "c", "zoe")
        filled.lists.add("empty", NOON)
        make_list(filled, "other", "gone")
        filled.recipients.unsubscribe(recipient_id(filled, "gone"), NOON)
        assert held(filled, email) == reason
        with pytest.raises(NoActiveRecipients, match=reason):
            filled.emails.release(7, NOON)
        assert status(filled) == "held"

    @pytest.mark.parametrize(
        ("email", "count"),
        [(EMAIL, 5), (to("a"), 3), (to("a", "b"), 4), (to(but=["a"]), 2), (named("ada", "q"), 2)],
    )
    def test_an_email_is_held_if_its_audience_is_too_large(self, filled: Database, email: Email, count: int) -> None:
        assert held(filled, email._replace(event_id=8, recipients_max=count)) is None
        assert held(filled, email._replace(recipients_max=count - 1)) == (
            f"its audience had {count} recipients when it was due, more than its limit of {count - 1} (recipients_max)"
        )
        assert filled.emails.release(7, NOON) == "sending"  # a person has decided
        assert len(received(filled)) == count

    def test_the_rest_of_a_large_audience_is_estimated_unless_it_is_limited(
        self, filled: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("storage.audiences.audiences.COUNT_SECONDS", -1)
        monkeypatch.setattr("storage.audiences.audiences.COUNT_WINDOW_SIZE", 1)
        monkeypatch.setattr("storage.audiences.windows.MIN_ROWS_OF_LIST", 1)
        assert held(filled, to("a", "b", recipients_max=4)) is None
        assert held(filled, to("a", "b", event_id=8)) is None
        rows = filled.connection.fetch_all("SELECT recipients FROM progress ORDER BY event_id")
        assert rows[0] == (4,)
        assert 1 <= rows[1][0] <= 6  # recipients in all
        assert received_by_all(filled) == {number: ["ada", "bob", "eve", "ina"] for number in (7, 8)}

    def test_an_email_whose_audience_has_just_changed_is_started_after_the_next_claim(self, filled: Database) -> None:
        filled.emails.save(to("a"), NOON)
        count_saved = filled.progress._audiences.count_saved

        def count_and_change(event_id: int, kind: str, **options: bool) -> object:
            counted = count_saved(event_id, kind, **options)
            filled.emails.replace(to("b"), NOON)
            return counted

        filled.progress._audiences.count_saved = count_and_change  # type: ignore[method-assign,assignment]
        assert filled.progress.start_due_emails(NOW) == []
        filled.progress._audiences.count_saved = count_saved  # type: ignore[method-assign]
        assert received_by_all(filled) == {7: ["bob", "ina"]}
