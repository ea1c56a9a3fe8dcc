"""Lists and their members, on every kind of database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from database import Address, Database, ListExists, MembersAdded, MembersReplaced, NoSuchList
from tests.support.deliveries import NOON
from tests.support.people import LATER, leave, people, recipient_id


def add(database: Database, name: str, *names: str) -> MembersAdded:
    if database.lists.get(name) is None:
        database.lists.add(name, NOON)
    return database.lists.add_members(name, people(*names), NOON, "program")


def members(database: Database, name: str) -> list[str]:
    found = database.lists.members(name)
    return sorted(member.recipient.address.partition("@")[0] for member in found if member.left_at is None)


class TestNames:
    def test_a_list_is_found_in_any_case_and_in_any_unicode_form(self, database: Database) -> None:
        made = database.lists.add("Gäste-2026", NOON)
        assert database.lists.get("gA\u0308STE-2026") == made
        assert (made.name, made.created_at, made.archived_at, made.members) == ("Gäste-2026", NOON, None, 0)
        assert database.lists.get("gala") is None

    def test_a_name_exists_once(self, database: Database) -> None:
        database.lists.add("Straße", NOON)
        with pytest.raises(ListExists, match='a list named "Straße" already exists'):
            database.lists.add("STRASSE", NOON)

    def test_lists_are_in_pages_by_name(self, database: Database) -> None:
        for name in ("b", "C", "a", "d"):
            database.lists.add(name, NOON)
        database.lists.archive("B", LATER)
        assert [found.name for found in database.lists.page(limit=2)] == ["a", "b"]
        assert [found.name for found in database.lists.page("B", 2)] == ["C", "d"]
        assert [found.name for found in database.lists.page(archived=False)] == ["a", "C", "d"]
        assert [(found.name, found.archived_at) for found in database.lists.page(archived=True)] == [("b", LATER)]
        database.lists.unarchive("b")
        assert database.lists.names(9) == ["a", "b", "C", "d"]

    def test_an_unknown_name_is_answered_with_those_that_exist(self, database: Database) -> None:
        with pytest.raises(NoSuchList, match=r'^there is no list "gala"; there are no lists yet$'):
            database.lists.require("gala")
        database.lists.add("gala-2026", NOON)
        with pytest.raises(NoSuchList, match=r'^there is no list "gala2026"; existing lists: gala-2026$') as found:
            database.lists.members("gala2026")
        assert found.value.closest == ["gala-2026"]
        database.lists.add("Staff", NOON)
        with pytest.raises(NoSuchList, match=r'^there is no list "x"; existing lists: gala-2026, Staff$'):
            database.lists.rename("x", "y", NOON)

    def test_of_many_lists_the_closest_are_named(self, database: Database) -> None:
        for number in range(12):
            database.lists.add(f"summer-{number}", NOON)
        for name in ("gala-2026", "Gala-2027", "staff"):
            database.lists.add(name, NOON)
        assert database.lists.closest("gala2026") == ["gala-2026", "Gala-2027"]
        assert (
            str(database.lists.no_such_list("stuff")) == 'there is no list "stuff"; existing lists: staff and 14 more'
        )
        assert database.lists.closest("q")

    def test_a_list_can_be_renamed(self, database: Database) -> None:
        add(database, "gala", "ada", "bob")
        add(database, "staff", "eve")
        assert database.lists.rename("GALA", "Ball", LATER).members == 2
        assert members(database, "ball") == ["ada", "bob"]
        assert database.lists.get("gala") is None
        assert database.lists.rename("ball", "BALL", LATER).name == "BALL"
        with pytest.raises(ListExists, match="staff"):
            database.lists.rename("ball", "Staff", LATER)


class TestMembers:
    def test_members_are_added_once_and_created_if_they_are_new(self, database: Database) -> None:
        database.recipients.add(people("ada"), NOON)
        assert add(database, "gala", "ada", "Bob", "bob") == MembersAdded(added=2, existing=0, left=0, created=1)
        assert add(database, "GALA", "bob", "eve") == MembersAdded(added=1, existing=1, left=0, created=1)
        assert members(database, "gala") == ["Bob", "ada", "eve"]
        assert database.lists.require("gala").members == 3
        assert database.recipients.counts()["active"] == 3

    def test_members_are_in_pages(self, database: Database) -> None:
        add(database, "gala", "c", "a", "b")
        first = database.lists.members("gala", limit=2)
        (last,) = database.lists.members("gala", first[-1].recipient.recipient_id)
        assert [member.recipient.address[0] for member in (*first, last)] == ["a", "b", "c"]
        assert (last.joined_at, last.left_at, last.added_by) == (NOON, None, "program")

    def test_a_removed_member_can_be_added_again(self, database: Database) -> None:
        add(database, "gala", "ada", "bob")
        assert database.lists.remove_member("Gala", people("ADA")[0], LATER)
        assert not database.lists.remove_member("gala", people("ada")[0], LATER)
        assert not database.lists.remove_member("gala", people("eve")[0], LATER)
        assert members(database, "gala") == ["bob"]
        assert add(database, "gala", "ada").added == 1

    def test_the_whole_list_is_replaced_in_one_transaction(self, database: Database) -> None:
        add(database, "gala", "ada", "bob", "eve", "ina")
        leave(database, "ina", "gala")
        replaced = database.lists.replace_members("gala", people("bob", "uma", "ina"), LATER, "import 7")
        assert replaced == MembersReplaced(added=1, removed=2, kept=1, left=1)
        assert members(database, "gala") == ["bob", "uma"]
        assert database.lists.replace_members("gala", [], LATER, "page").removed == 2
        assert members(database, "gala") == []

    def test_nothing_is_added_if_an_address_is_bad(self, database: Database) -> None:
        def broken() -> Iterator[Address]:
            yield from people("ada")
            raise ValueError

        database.lists.add("gala", NOON)
        for change in (database.lists.add_members, database.lists.replace_members):
            with pytest.raises(ValueError):
                change("gala", broken(), NOON, "program")
        assert database.recipients.find(people("ada")[0]) is None

    def test_unknown_lists_are_refused_and_nobody_is_created(self, database: Database) -> None:
        for change in (database.lists.add_members, database.lists.replace_members):
            with pytest.raises(NoSuchList):
                change("gala", people("ada"), NOON, "program")
        with pytest.raises(NoSuchList):
            database.lists.remove_member("gala", people("ada")[0], NOON)
        assert database.recipients.page() == []


class TestLeaving:
    def test_no_program_brings_back_a_member_who_left(self, database: Database) -> None:
        add(database, "gala", "ada", "bob")
        assert leave(database, "ada", "gala") == 1
        assert leave(database, "ada", "gala") == 0
        assert add(database, "gala", "ada", "bob") == MembersAdded(added=0, existing=1, left=1, created=0)
        assert members(database, "gala") == ["bob"]
        assert not database.lists.remove_member("gala", people("ada")[0], LATER)
        assert database.lists.members("gala")[0].left_at == LATER

    def test_leaving_a_list_counts_although_a_program_removed_the_member(self, database: Database) -> None:
        add(database, "gala", "ada")
        database.lists.remove_member("gala", people("ada")[0], LATER)
        assert leave(database, "ada", "gala") == 0
        assert add(database, "gala", "ada").left == 1

    def test_the_lists_of_a_recipient(self, database: Database) -> None:
        for name in ("Staff", "gala", "old"):
            add(database, name, "ada", "bob")
        leave(database, "ada", "gala")
        database.lists.delete("old", LATER)
        found = database.lists.lists_of(recipient_id(database, "ada"))
        assert [(each.list.name, each.left_at, each.list.members) for each in found] == [
            ("gala", LATER, 1),
            ("Staff", None, 2),
        ]
        assert database.lists.lists_of(0) == []

    def test_leaving_needs_a_recipient_and_a_list(self, database: Database) -> None:
        add(database, "gala", "ada")
        assert database.lists.leave(99, [1, 99], LATER) == 0
        assert database.lists.leave(recipient_id(database, "ada"), [99], LATER) == 0
        assert database.lists.lists_of(99) == []


class TestDeleting:
    def test_a_list_of_the_same_name_begins_empty_and_those_who_left_stay_out(self, database: Database) -> None:
        add(database, "Gala", "ada", "bob")
        leave(database, "ada", "gala")
        first = database.lists.require("gala")
        database.lists.delete("gala", LATER)
        assert database.lists.get("gala") is None
        assert database.lists.page() == []
        with pytest.raises(NoSuchList):
            database.lists.delete("gala", LATER)
        again = database.lists.add("gala", LATER)
        assert again == first._replace(name="gala", created_at=LATER, members=0)
        assert add(database, "gala", "ada", "bob") == MembersAdded(added=1, existing=0, left=1, created=0)

    def test_a_list_renamed_to_the_name_of_a_deleted_one_keeps_out_those_who_left_it(self, database: Database) -> None:
        add(database, "gala", "ada", "bob", "eve")
        leave(database, "ada", "gala")
        leave(database, "eve", "gala")
        database.lists.delete("gala", LATER)
        add(database, "ball", "eve")
        database.lists.rename("ball", "gala", LATER)
        assert add(database, "gala", "ada", "bob", "eve") == MembersAdded(added=1, existing=1, left=1, created=0)
        database.lists.delete("gala", LATER)
        database.lists.add("ball", LATER)
        assert add(database, "ball", "ada").added == 1
        assert database.lists.add("gala", LATER).members == 0
