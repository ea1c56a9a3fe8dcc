"""Searching recipients, compared with a search in plain Python, whatever part of them is indexed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from database import Address, Database, NoSuchList, Word, fold_value, open_database
from settings import Settings, load_settings
from storage.search import finding, postings
from storage.search.index import CURRENT, STALE
from storage.search.postings import CHUNK_SIZE
from tests.support.deliveries import NOON
from tests.support.properties import AT_ANY_SPEED

WORDS = ("ada", "lovelace", "ADA", "ß", "Straße", "É", "李小龙", "ﬁn", "%", "_", "'", '"', "a", "b@", "x.y", "Ⅳ", "!")


class Person(NamedTuple):
    """A recipient of the model."""

    address: str
    fields: Mapping[str, str]

    def has(self, text: str) -> bool:
        """Return whether each word of a text is found."""
        values = [fold_value(value) for value in self.fields.values()]
        return all(
            word.lower() in self.address.lower() or any(fold_value(word) in value for value in values)
            for word in text.split()
        )

    def to_add(self) -> Address:
        fields = json.dumps(dict(self.fields), ensure_ascii=False) if self.fields else ""
        return Address(self.address, self.address.lower(), fields)


@pytest.fixture
def settings(where: dict[str, str], tmp_path: Path) -> Settings:
    return load_settings(where, tmp_path)


def add(database: Database, *people: Person) -> None:
    names = {name for person in people for name in person.fields}
    database.recipients.add([each.to_add() for each in people], NOON, field_names=names)


def skip_ids(database: Database, count: int) -> None:
    """Let the next recipient have an id that is larger by `count`."""
    database.connection.execute("UPDATE counters SET value = value + :count WHERE name = 'recipient_id'", count=count)


def words(text: str) -> tuple[Word, ...]:
    return tuple(Word(word.lower(), fold_value(word)) for word in text.split())


def found(database: Database, text: str, limit: int = 100, **others: Any) -> list[str]:
    """Return the addresses of all pages."""
    addresses: list[str] = []
    after = 0
    while page := database.recipients.page(after, limit, words=words(text), **others):
        addresses += [each.address for each in page]
        after = page[-1].recipient_id
    return addresses


def states(database: Database) -> dict[int, int]:
    return dict(database.connection.fetch_all("SELECT chunk, state FROM search_chunks"))


def do_second(act: Callable[[], object], *, afterwards: bool = True) -> Callable[[], bool]:
    """Return a function that acts when it is called the second time, and returns `afterwards` after that."""
    calls = iter([False, True])

    def go_on() -> bool:
        acts = next(calls, None)
        if acts:
            act()
        return acts is not None or afterwards

    return go_on


ADA = Person("ada.lovelace@example.com", {"first_name": "Ada", "last_name": "LOVELACE", "city": "Straße 7"})
BOB = Person("Bob_%@mail.example.org", {"note": 'says "100 %" \\ and more', "name": "Élodie ﬁn"})
LI = Person("li@xn--bcher-kva.example", {"name": "李小龙"})
ZOE = Person("zoë@example.com", {})
ALL = (ADA, BOB, LI, ZOE)


@pytest.fixture(params=["not indexed", "indexed", "stale"])
def people(database: Database, request: pytest.FixtureRequest) -> Database:
    """Four recipients in four chunks."""
    for person in ALL:
        add(database, person)
        skip_ids(database, CHUNK_SIZE)
    if request.param != "not indexed":
        assert database.search_index.update() == 4
        assert not database.search_index.is_behind()
    if request.param == "stale":
        database.connection.execute("UPDATE search_chunks SET state = :stale", stale=STALE)
    return database


EXPECTED = {
    "lovelace": [ADA],
    "Ada LOVE": [ADA],
    "strasse": [ADA],
    "STRASSE 7": [ADA],
    "élodie": [BOB],
    "FIN": [BOB],
    "100 %": [BOB],
    '"': [BOB],
    "\\": [BOB],
    "%": [BOB],
    "_": [BOB],
    "b_%@m": [BOB],
    "小": [LI],
    "李小龙": [LI],
    "ë": [ZOE],
    "ZOË@": [ZOE],
    "example": list(ALL),
    "z": [ZOE],
    "om": [ADA, ZOE],
    "le.com": [ADA, ZOE],
    "e": list(ALL),
    "first_name": [],
    "ada bob": [],
    "a_a": [],
    "%%": [],
    "*": [],
    '"ada" OR "bob"': [],
    "NEAR(": [],
    "x" * 254: [],
    "\U0010ffff": [],
}


def test_any_part_of_an_address_or_a_field_is_found(people: Database) -> None:
    for text, expected in EXPECTED.items():
        assert [each for each in ALL if each.has(text)] == expected
        assert found(people, text) == [each.address for each in expected]
        assert found(people, text, limit=1) == [each.address for each in expected]


def test_a_search_is_combined_with_domain_status_list_and_parts_of_the_address(people: Database) -> None:
    people.lists.add("gala", NOON)
    people.lists.add_members("gala", [each.to_add() for each in (ADA, LI, ZOE)], NOON, "page")
    zoe = people.recipients.find(Address(ZOE.address, ZOE.address))
    assert zoe is not None
    assert people.recipients.unsubscribe(zoe.recipient_id, NOON)
    assert found(people, "", domain="example.com") == [ADA.address, ZOE.address]
    assert found(people, "", domain="ample.com") == []
    assert found(people, "lo", domain="example.com") == [ADA.address]
    assert found(people, "", list_name="GALA") == [ADA.address, LI.address, ZOE.address]
    assert found(people, "example.com", list_name="gala", status="active") == [ADA.address]
    assert found(people, "", list_name="gala", status="unsubscribed") == [ZOE.address]
    assert found(people, "e", status="unsubscribed") == [ZOE.address]
    assert found(people, "e", status="rejected") == []
    assert found(people, "example", address_begins="ada", address_contains="love") == [ADA.address]
    members = people.lists.members("gala", words=words("com"))
    assert [each.recipient.address for each in members] == [ADA.address, ZOE.address]
    with pytest.raises(NoSuchList):
        found(people, "", list_name="other")


def test_members_who_left_are_found_among_the_members_of_the_list_only(people: Database) -> None:
    gala = people.lists.add("gala", NOON)
    people.lists.add_members("gala", [Address(ADA.address, ADA.address)], NOON, "page")
    (ada,) = people.recipients.page(0, 9, words=words("ada"))
    people.lists.leave(ada.recipient_id, [gala.list_id], NOON)
    assert found(people, "ada", list_name="gala") == []
    assert [each.recipient.address for each in people.lists.members("gala", words=words("ada"))] == [ADA.address]


class TestIndex:
    def test_a_changed_field_is_found_before_and_after_it_is_indexed_again(self, people: Database) -> None:
        people.search_index.update()
        add(people, LI._replace(fields={"name": "Bruce"}))
        assert states(people) == {0: CURRENT, 1: CURRENT, 2: STALE, 3: CURRENT}
        assert people.search_index.is_behind()
        assert (found(people, "bruce"), found(people, "小")) == ([LI.address], [])
        assert people.search_index.update() == 1
        assert set(states(people).values()) == {CURRENT}
        assert (found(people, "bruce"), found(people, "小")) == ([LI.address], [])

    def test_a_removed_recipient_is_not_found_and_one_added_again_is(self, people: Database) -> None:
        people.search_index.update()
        people.recipients.remove([Address(ADA.address, ADA.address)], NOON)
        assert found(people, "ada") == []
        add(people, ADA)
        assert found(people, "lovelace") == [ADA.address]

    def test_a_recipient_who_is_restored_is_found_by_the_address(self, people: Database) -> None:
        people.search_index.update()
        (ada,) = people.recipients.page(0, 9, words=words("ada"))
        people.recipients.unsubscribe(ada.recipient_id, NOON)
        people.recipients.remove([Address(ADA.address, ADA.address)], NOON)
        people.recipients.add([Address(ADA.address, ADA.address)], NOON)
        assert found(people, "lovelace") == [ADA.address]
        assert found(people, "straße") == []

    def test_nothing_is_written_when_recipients_are_added_unsubscribe_or_are_removed(self, people: Database) -> None:
        people.search_index.update()
        add(people, Person("new@example.com", {"name": "New"}))
        people.recipients.unsubscribe(1, NOON)
        people.recipients.reactivate(Address(ADA.address, ADA.address))
        people.recipients.remove([Address(BOB.address, BOB.address.lower())], NOON)
        assert set(states(people).values()) == {CURRENT}

    def test_a_chunk_waits_until_all_of_its_ids_are_assigned(self, database: Database) -> None:
        add(database, ADA)
        skip_ids(database, CHUNK_SIZE - 3)
        assert not database.search_index.is_behind()
        assert database.search_index.update() == 0
        add(database, BOB)
        assert database.search_index.update() == 1
        assert states(database) == {0: CURRENT}

    def test_an_update_that_is_broken_off_is_repeated(self, database: Database) -> None:
        add(database, ADA)
        skip_ids(database, CHUNK_SIZE)
        answers = iter([True, False])
        assert database.search_index.update(lambda: next(answers)) == 0
        assert states(database) == {0: STALE}
        assert found(database, "ada") == [ADA.address]
        assert database.search_index.update() == 1

    def test_a_change_while_a_chunk_is_indexed_makes_it_stale(self, database: Database, settings: Settings) -> None:
        add(database, ADA)
        skip_ids(database, CHUNK_SIZE)
        with open_database(settings) as other:
            database.search_index.update(
                do_second(lambda: add(other, ADA._replace(fields={"city": "Wien"})), afterwards=False)
            )
        assert states(database) == {0: STALE}
        assert found(database, "wien") == [ADA.address]
        assert database.search_index.update() == 1
        assert found(database, "wien") == [ADA.address]

    def test_two_processes_do_not_index_the_same_chunk(self, database: Database, settings: Settings) -> None:
        add(database, ADA)
        skip_ids(database, CHUNK_SIZE)
        with open_database(settings) as other:
            indexed: list[int] = []
            assert database.search_index.update(do_second(lambda: indexed.append(other.search_index.update()))) == 1
            assert indexed == [0]

    def test_a_chunk_whose_process_died_is_taken_over(self, database: Database) -> None:
        add(database, ADA)
        skip_ids(database, CHUNK_SIZE)
        database.connection.execute("INSERT INTO search_chunks (chunk, state) VALUES (0, 1024)")
        assert found(database, "ada") == [ADA.address]
        assert database.search_index.update() == 1
        assert states(database) == {0: CURRENT}

    def test_fields_that_an_operator_damaged_are_no_error(self, database: Database) -> None:
        add(database, ADA, BOB, LI)
        for number, text in enumerate(('["a"]', "{", '{"name": 7, "city": "Wien"}'), start=1):
            database.connection.execute("UPDATE recipients SET fields = :f WHERE recipient_id = :id", f=text, id=number)
        skip_ids(database, CHUNK_SIZE)
        for _ in range(2):
            assert found(database, "wien") == [LI.address]
            database.search_index.update()


def test_many_matches_in_one_chunk_are_found_page_by_page(database: Database) -> None:
    people = [Person(f"p{number:04}@{'even' if number % 2 == 0 else 'odd'}.example", {}) for number in range(3000)]
    add(database, *people)
    database.lists.add("gala", NOON)
    addresses = [Address(each.address, each.address) for each in people]
    database.lists.add_members("gala", addresses[:2500], NOON, "page")
    database.connection.execute("UPDATE recipients SET status = 'rejected' WHERE address LIKE '%00@even.example'")
    skip_ids(database, CHUNK_SIZE)
    for _ in range(2):
        assert found(database, "even", limit=700) == [each.address for each in people[::2]]
        assert found(database, "en.ex p1", limit=100) == [each.address for each in people[1000:2000:2]]
        assert found(database, "even", list_name="gala") == [each.address for each in people[:2500:2]]
        assert found(database, "even", status="rejected") == [each.address for each in people[::100]]
        assert found(database, "", list_name="gala", status="rejected") == [each.address for each in people[:2500:100]]
        assert found(database, "p0", list_name="gala", status="rejected") == [
            each.address for each in people[:1000:100]
        ]
        database.search_index.update()


IN_ONE_DATABASE = hypothesis.settings(AT_ANY_SPEED, max_examples=12, suppress_health_check=[*hypothesis.HealthCheck])
PARTS = st.one_of(st.sampled_from(WORDS), st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=4))
LOCALS = st.text("abcé.ß_%+-", min_size=1, max_size=6)
DOMAINS = st.sampled_from(["example.com", "mail.example", "xn--bcher-kva.example"])
PEOPLE = st.lists(
    st.builds(
        lambda local, domain, values: Person(
            f"{local}@{domain}", {f"f{place}": value for place, value in enumerate(values) if value}
        ),
        LOCALS,
        DOMAINS,
        st.lists(st.lists(PARTS, max_size=3).map("".join), max_size=3),
    ),
    max_size=8,
    unique_by=lambda person: person.address.lower(),
)


@given(groups=st.lists(st.tuples(PEOPLE, st.booleans()), max_size=3), texts=st.lists(PARTS, min_size=1, max_size=6))
@IN_ONE_DATABASE
def test_a_search_finds_what_a_search_in_python_finds(
    database: Database, groups: list[tuple[list[Person], bool]], texts: list[str]
) -> None:
    empty(database)
    everyone: dict[str, Person] = {}
    for people, index in groups:
        new = [person for person in people if person.address.lower() not in everyone]
        everyone |= {person.address.lower(): person for person in new}
        add(database, *new)
        skip_ids(database, CHUNK_SIZE)
        if index:
            database.search_index.update()
    values = [value for person in everyone.values() for value in person.fields.values()]
    pieces = [person.address[1:5] for person in everyone.values()] + [value[:3] for value in values]
    for text in [*texts, *pieces, *(value[2:4] for value in values), " ".join(texts[:2])]:
        if text.split():
            expected = [person.address for person in everyone.values() if person.has(text)]
            assert sorted(found(database, text, limit=3)) == sorted(expected), text


def empty(database: Database) -> None:
    for table in ("recipients", "search_chunks", "search_postings"):
        database.connection.execute(f"DELETE FROM {table}")
    database.connection.execute("UPDATE counters SET value = 0 WHERE name = 'recipient_id'")


class TestPostings:
    @given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=20), st.booleans())
    @AT_ANY_SPEED
    def test_they_come_back(self, texts: list[str], dense: bool) -> None:
        collector = postings.Collector()
        numbered = list(enumerate(texts * (60 if dense else 1)))
        for offset, text in numbered:
            collector.add(offset, text)
        rows = dict(collector.rows())
        for _, text in numbered[: len(texts)]:
            for place in range(len(text) - 2):
                gram = text[place : place + 3]
                expected = [offset for offset, other in numbered if gram in other]
                assert postings.in_order(postings.entry(rows[postings.bigram(gram)], gram[2])) == expected

    @pytest.mark.parametrize("act", [postings.union, postings.intersection])
    @given(parts=st.lists(st.tuples(st.sets(st.integers(0, 20)), st.booleans()), min_size=1, max_size=4))
    @AT_ANY_SPEED
    def test_sets_and_bitmaps_are_combined(
        self, act: Callable[[Any], postings.Offsets], parts: list[tuple[set[int], bool]]
    ) -> None:
        given = [sum(1 << each for each in numbers) if dense else numbers for numbers, dense in parts]
        sets = [numbers for numbers, _ in parts]
        expected = set[int]().union(*sets) if act is postings.union else sets[0].intersection(*sets)
        assert postings.in_order(act(given)) == sorted(expected)


@given(st.text(min_size=3, max_size=40))
@AT_ANY_SPEED
def test_the_trigrams_of_a_word_are_few_and_cover_it(text: str) -> None:
    grams = finding._grams(text)
    assert 1 <= len(grams) <= finding.MAX_GRAMS
    assert all(gram in text for gram in grams)
    assert grams[0] == text[:3]
    assert text[-3:] in grams
