"""Adding recipients with personal fields and lists, and undoing that, on every kind of database."""

from __future__ import annotations

import pytest

from database import Address, Database, NoSuchList, Recipient, TooManyFields
from tests.support.deliveries import NOON


def address(name: str, fields: str = "", *list_ids: int) -> Address:
    lists = f"[{', '.join(map(str, list_ids))}]" if list_ids else ""
    return Address(f"{name}@example.com", f"{name.lower()}@example.com", fields, lists)


def found(database: Database, name: str) -> Recipient:
    recipient = database.recipients.find(address(name))
    assert recipient
    return recipient


def members(database: Database, name: str) -> list[str]:
    found = database.lists.get(name)
    listed = [member for member in database.lists.members(name) if member.left_at is None]
    assert found and found.members == len(listed)
    return [member.recipient.address.partition("@")[0] for member in listed]


def imported(database: Database, *addresses: Address, list_name: str | None = None) -> int:
    """An import that is done."""
    import_id = database.imports.create("people.csv", [b"x"], NOON)
    found = database.imports.compare(addresses)
    database.imports.ready(import_id, found, valid=2, invalid=0, skipped=0, preview="{}", invalid_lines="")
    assert database.imports.choose(import_id, {"fields": []}, list_name)
    assert database.imports.begin(import_id, "import", NOON)
    assert database.imports.finish(import_id, addresses, NOON, field_names={"name"})
    assert not database.imports.choose(import_id, {}, None)
    return import_id


def undo(database: Database, import_id: int) -> None:
    assert database.imports.begin(import_id, "undo", NOON)
    while database.imports.undo_some(import_id, NOON):
        pass


def test_new_values_replace_old_ones_of_the_same_name(database: Database) -> None:
    database.recipients.add(
        [address("a", '{"name": "Ann", "city": "Bonn"}')], NOON, "page", field_names={"name", "city"}
    )
    assert (found(database, "a").fields, found(database, "a").added_by) == ({"name": "Ann", "city": "Bonn"}, "page")
    database.recipients.add(
        [address("A", '{"name": "\\"Änne\\" \\\\", "größe": "L"}'), address("b"), address("c", '{"größe": "S"}')],
        NOON,
        "program",
        field_names={"name", "größe"},
    )
    assert found(database, "a").fields == {"name": '"Änne" \\', "city": "Bonn", "größe": "L"}
    assert found(database, "a").added_by == "page"
    assert found(database, "b").fields == {} and found(database, "b").added_by == "program"
    assert found(database, "c").fields == {"größe": "S"}
    assert database.recipients.field_names() == ["city", "größe", "name"]


def test_a_repeated_address_keeps_its_last_values_and_all_its_lists(database: Database) -> None:
    for name in ("Gala", "Staff"):
        database.lists.add(name, NOON)
    rows = [address("a", '{"name": "Ann", "city": "Bonn"}', 1), address("b"), address("A", '{"name": "Anna"}', 2, 1)]
    added = database.recipients.add([*rows, address("a")], NOON, "command", field_names={"name", "city"})
    assert added == (2, 0, 2, 0)
    assert found(database, "a").fields == {"name": "Anna", "city": "Bonn"}
    assert found(database, "a").address == "a@example.com"
    assert members(database, "gala") == members(database, "Staff") == ["a"]


def test_more_fields_than_allowed_are_refused_whole(database: Database) -> None:
    def with_fields(first: int) -> Address:
        return address("a", "{" + ", ".join(f'"f{first + number}": "x"' for number in range(20)) + "}")

    names = {f"f{number}" for number in range(40)}
    database.recipients.add([with_fields(0)], NOON, field_names=names)
    with pytest.raises(TooManyFields, match=r"a@example\.com would have more than 32 personal fields"):
        database.recipients.add([with_fields(20), address("b")], NOON, field_names=names)
    assert len(found(database, "a").fields) == 20
    assert database.recipients.find(address("b")) is None


def test_everyone_joins_the_lists_that_are_named_and_who_left_stays_out(database: Database) -> None:
    gala = database.lists.add("Gala", NOON)
    database.recipients.add([address("a"), address("b")], NOON)
    database.lists.leave(found(database, "a").recipient_id, [gala.list_id], NOON)
    added = database.recipients.add([address(name) for name in "abc"], NOON, "command", lists=["GALA"])
    assert added == (1, 2, 2, 1)
    assert members(database, "Gala") == ["b", "c"]
    again = database.recipients.add([address("a", "", gala.list_id), address("b", "", gala.list_id)], NOON)
    assert again == (0, 2, 0, 1)
    with pytest.raises(NoSuchList, match='there is no list "Gaal"; existing lists: Gala'):
        database.recipients.add([address("d")], NOON, lists=["Gaal"])
    database.lists.delete("Gala", NOON)
    with pytest.raises(NoSuchList):
        database.recipients.add([address("d", "", gala.list_id)], NOON)
    assert database.recipients.find(address("d")) is None


def test_a_recipient_whom_an_email_named_is_listed_once_imported(database: Database) -> None:
    database.recipients.add([address("a"), address("b")], NOON)
    database.connection.execute("UPDATE recipients SET listed = 0")
    assert not found(database, "a").listed
    imported(database, address("a"))
    assert found(database, "a").listed and not found(database, "b").listed
    database.recipients.add([address("b")], NOON)
    assert found(database, "b").listed


def test_undoing_an_import_removes_the_memberships_that_it_added(database: Database) -> None:
    for name in ("Gala", "Staff", "Other"):
        database.lists.add(name, NOON)
    database.recipients.add([address("known")], NOON, lists=["Staff"])
    import_id = imported(
        database, address("new", '{"name": "N"}', 2), address("known", "", 2), address("left"), list_name="gala"
    )
    assert members(database, "Gala") == ["known", "left", "new"] and members(database, "Staff") == ["known", "new"]
    assert found(database, "new").added_by == f"import {import_id}"
    database.recipients.add([address("new")], NOON, lists=["Other"])
    database.lists.leave(found(database, "left").recipient_id, [1], NOON)
    undo(database, import_id)
    assert members(database, "Gala") == members(database, "Other") == [] and members(database, "Staff") == ["known"]
    assert database.recipients.find(address("new")) is None
    assert found(database, "left")  # so that they stay out of the list
    done = database.imports.get(import_id)
    assert done and (done.status, done.removed, done.kept) == ("undone", 1, 1)


def test_undoing_goes_on_where_it_was_interrupted(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.lists.memberships.BATCH_SIZE", 2)
    monkeypatch.setattr("storage.recipients.undoing.BATCH_SIZE", 2)
    database.lists.add("Gala", NOON)
    import_id = imported(database, *(address(f"p{number}") for number in range(5)), list_name="Gala")
    assert database.imports.begin(import_id, "undo", NOON)
    for left in (3, 1):
        assert database.imports.undo_some(import_id, NOON)
        assert len(members(database, "Gala")) == left
    while database.imports.undo_some(import_id, NOON):
        pass
    assert database.recipients.page() == []
