"""Personal fields in the data layer: the values of recipients, and who in an audience lacks one."""

from __future__ import annotations

import json

import pytest

from database import EVERYONE, Address, Audience, Database, Survey
from tests.support.deliveries import EMAIL, NOON, addresses

FIELDS = [
    {"name": "Ada", "city": "London"},
    {"name": "Grace Brewster Murray"},
    {"city": "Wien"},
    None,
    {"name": "李", "note": '"city": "none"'},
]


@pytest.fixture
def people(database: Database) -> Database:
    """Five active recipients with these fields, and one who has unsubscribed; r1 to r3 are in the list `gala`."""
    database.recipients.add(addresses(6), NOON)
    with database.connection.transaction():
        for number, fields in enumerate(FIELDS):
            set_fields(database, number, json.dumps(fields, ensure_ascii=False) if fields else None)
        database.connection.execute("UPDATE recipients SET status = 'unsubscribed' WHERE address = 'p5@example.com'")
        database.connection.execute("INSERT INTO field_names (name) VALUES ('name')")
        database.connection.execute("INSERT INTO field_names (name) VALUES ('city')")
    database.lists.add("gala", NOON)
    database.lists.add_members("gala", addresses(4)[1:], NOON, "command")
    return database


def set_fields(database: Database, number: int, text: str | None) -> None:
    address = f"p{number}@example.com"
    assert database.connection.execute(
        "UPDATE recipients SET fields = :fields WHERE address = :address", fields=text, address=address
    )


def id_of(database: Database, number: int) -> int:
    found = database.recipients.find(addresses(number + 1)[number])
    assert found is not None
    return found.recipient_id


def test_names_and_values_are_returned(people: Database) -> None:
    ids = [id_of(people, number) for number in range(6)]
    assert people.personal_fields.names() == ["city", "name"]
    assert people.personal_fields.of(ids) == {
        ids[number]: fields for number, fields in enumerate(FIELDS) if fields is not None
    }
    assert people.personal_fields.of([]) == {}


def test_what_is_not_a_text_does_not_count_as_a_value(people: Database) -> None:
    for text in ("", "{", "null", "[1]", '"city"', '{"city": 7}', '{"city": null}', '{"city": ["x"]}', '{"city": ""}'):
        with people.connection.transaction():
            set_fields(people, 0, text)
        assert not people.personal_fields.of([id_of(people, 0)]).get(id_of(people, 0), {}).get("city")


BROKEN = {
    "lists too deep": "[" * 200_000,
    "objects too deep": '{"city":' * 200_000,
    "a value too deep": '{"city":' + "[" * 200_000 + "]" * 200_000 + "}",
    "more digits than Python reads": '{"city":' + "9" * 5_000 + "}",
    "a number beyond all": '{"city": 1e999}',
    "not a number": '{"city": NaN}',
    "a line end": '{"city": "\n"}',
    "the end of a list": "]",
    "two objects": '{"city": null}, 0, {"city": "x"}',
    "the beginning of an object": '{"city": [0',
    "a list with a number": '[0, {"city": "x"}]',
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_broken_fields_of_a_recipient_are_left_out_and_change_no_one_elses(people: Database, text: str) -> None:
    ids = [id_of(people, number) for number in range(3)]
    with people.connection.transaction():
        set_fields(people, 1, text)
    read = people.personal_fields.of(ids)
    assert (read[ids[0]], read[ids[1]].get("city"), read[ids[2]]) == (FIELDS[0], None, FIELDS[2])
    assert people.personal_fields.survey(EVERYONE, ["other"], ["city"]).missing == 5


def test_fields_that_look_whole_only_together_are_left_out(people: Database) -> None:
    ids = [id_of(people, number) for number in range(3)]
    texts = '{"name": "x", "city": [0', '1]}, 0, {"name": "y"}', '{"name": "z"}'
    with people.connection.transaction():
        for number, text in enumerate(texts):
            set_fields(people, number, text)
    assert [people.personal_fields.of(ids)[each] for each in ids] == [{}, {}, {"name": "z"}]


def test_half_a_character_is_a_value_that_no_message_can_contain(people: Database) -> None:
    with people.connection.transaction():
        set_fields(people, 0, '{"city": "\\ud800"}')
    assert people.personal_fields.of([id_of(people, 0)])[id_of(people, 0)] == {"city": "\ud800"}


@pytest.mark.parametrize(
    ("audience", "required", "missing", "first"),
    [
        (EVERYONE, ["name"], 2, 2),
        (EVERYONE, ["city"], 3, 1),
        (EVERYONE, ["name", "city"], 4, 1),
        (EVERYONE, ["other"], 5, 0),
        (EVERYONE, [], 0, None),
        (Audience(lists=("GALA",)), ["name"], 2, 2),
        (Audience(exclude_lists=("gala",)), ["city"], 1, 4),
        (Audience(to=tuple(addresses(3)[1:])), ["name"], 1, 2),
    ],
)
def test_recipients_who_lack_a_value_are_counted(
    people: Database, audience: Audience, required: list[str], missing: int, first: int | None
) -> None:
    expected = Survey(missing, False, None if first is None else id_of(people, first))
    assert people.personal_fields.survey(audience, required) == expected
    people.emails.save(EMAIL._replace(audience=audience), NOON)
    assert people.personal_fields.survey_saved(EMAIL.event_id, audience.kind, required) == expected


def test_an_address_that_does_not_exist_yet_lacks_every_value(people: Database) -> None:
    new, unsubscribed = Address("new@example.com", "new@example.com"), addresses(6)[5]
    assert people.personal_fields.survey(Audience(to=(new, unsubscribed)), ["name"]) == Survey(1, False)


def test_the_recipient_with_the_longest_values_is_found(people: Database) -> None:
    assert people.personal_fields.survey(EVERYONE, ["name"], ["name"]).longest_id == id_of(people, 1)
    assert people.personal_fields.survey(EVERYONE, [], ["city"]).longest_id == id_of(people, 0)


def test_a_survey_stops_in_time_and_says_so(people: Database) -> None:
    assert people.personal_fields.survey(EVERYONE, ["name"], seconds=0) == Survey(0, True)
