"""`flask recipients import` of files as they come out of other programs: columns, fields, lists and invalid lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from database import Address, Database, open_database
from email_app import create_app
from intake.personal_fields import as_json, check_value, is_name, stripped
from settings import Settings, load_settings
from tests.support.recipients_command import Command, commands_of, stored
from tests.support.samples.make_exports import ADDRESSES, PEOPLE, Export, exports

ROWS = b"E-Mail;First name;Seat\nada@example.com;Ada;C 14\nbad;Cy;1\nbob@example.com;Bob;\n"


@pytest.fixture
def recipients(settings: Settings, database: Database) -> Command:
    return commands_of(settings)


def fields(database: Database) -> dict[str, dict[str, str]]:
    return {each.address.partition("@")[0]: each.fields for each in database.recipients.page()}


def test_invalid_lines_are_skipped_on_request(recipients: Command, database: Database) -> None:
    assert recipients("import", "-", stdin=ROWS).exit_code == 1
    assert stored(database) == {}
    result = recipients("import", "--skip-invalid", "-", stdin=ROWS)
    assert (result.exit_code, result.stdout) == (0, "2 added, 0 already existed\n")
    assert result.stderr.startswith("line 3: bad is not valid")
    assert list(stored(database)) == ["ada@example.com", "bob@example.com"]


@pytest.mark.parametrize("data", [b"recipient_email\nbad\nworse\n", b'a@example.com\n"b@example.com\n'])
def test_a_file_that_cannot_be_read_is_not_imported_in_part(
    recipients: Command, database: Database, data: bytes
) -> None:
    result = recipients("import", "--skip-invalid", "-", stdin=data)
    assert result.exit_code == 1 and "Nothing was imported" in result.stderr
    assert stored(database) == {}


def test_the_column_of_addresses_can_be_named(recipients: Command, database: Database) -> None:
    data = b"Buyer,Guest\na@example.com,b@example.com\nc@example.com,d@example.com\n"
    result = recipients("import", "-", stdin=data)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[:2] == [
        "line 1: several columns have addresses: Buyer, Guest",
        "Name the column: --address-column NAME (or its number)",
    ]
    result = recipients("import", "--address-column", "guest", "-", stdin=data)
    assert (result.exit_code, result.stderr) == (0, "Addresses: column Guest, below the header on line 1\n")
    assert list(stored(database)) == ["b@example.com", "d@example.com"]
    result = recipients("import", "--address-column", "Nobody", "-", stdin=data)
    assert result.exit_code == 1 and "there is no column Nobody; the columns are: Buyer, Guest" in result.stderr


def test_columns_become_fields(recipients: Command, database: Database) -> None:
    result = recipients("import", "--skip-invalid", "--field", "First name", "--field", "Seat=place", "-", stdin=ROWS)
    assert result.exit_code == 0 and "Fields: first_name, place" in result.stderr
    assert fields(database) == {"ada": {"first_name": "Ada", "place": "C 14"}, "bob": {"first_name": "Bob"}}
    assert database.recipients.page()[0].added_by == "command"
    result = recipients("import", "--fields", "-", stdin=b"email,Seat\nada@example.com,D 1\nbob@example.com,\n")
    assert fields(database)["ada"] == {"first_name": "Ada", "place": "C 14", "seat": "D 1"}
    assert json.loads(recipients("list", "--json").output.splitlines()[1])["fields"] == {"first_name": "Bob"}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--field", "Nothing"], "there is no column Nothing"),
        (["--field", "Seat=First Name"], "--field Seat=First Name: the name is not a valid name"),
        (["--field", "E-Mail"], "the column E-Mail cannot become a field"),
        (["--list", "Gala"], 'there is no list "Gala"; there are no lists yet'),
        (["--list", "Gala", "--dry-run"], 'there is no list "Gala"; there are no lists yet'),
    ],
)
def test_what_cannot_be_is_said(recipients: Command, database: Database, options: list[str], complaint: str) -> None:
    result = recipients("import", "--skip-invalid", *options, "-", stdin=ROWS)
    assert result.exit_code == 1 and complaint in result.stderr, result.output
    assert stored(database) == {}


LISTED = b"email,recipient_lists\nada@example.com,Gala\nz@example.com,gala\n"


def test_everyone_joins_a_list(recipients: Command, database: Database) -> None:
    database.lists.add("Gala", datetime.now(UTC))
    result = recipients("import", "--skip-invalid", "--list", "GALA", "-", stdin=ROWS)
    assert result.stdout == "2 added, 0 already existed, 2 memberships added\n"
    database.lists.leave(1, [1], datetime.now(UTC))
    result = recipients(
        "import", "--json", "-", stdin=b"email,recipient_lists\nada@example.com,Gala\nz@example.com,gala\n"
    )
    counts = {"added": 1, "known": 1, "repeated": 0, "lines": 2, "left_out": 0, "joined": 1, "left": 1}
    assert json.loads(result.stdout) == {"stored": True, **counts}
    result = recipients("import", "--skip-invalid", "--json", "-", stdin=ROWS)
    assert json.loads(result.stdout)["invalid"] == 1
    result = recipients("import", "-", stdin=b"email,recipient_lists\nx@example.com,Gaal\n")
    assert result.stderr.startswith('line 2: there is no list "Gaal"; existing lists: Gala')


def installation(settings: Settings) -> Settings:
    assert create_app(settings).test_cli_runner().invoke(args=["init-db"]).exit_code == 0
    return settings


@pytest.fixture(scope="module")
def first_and_second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[tuple[Command, Database]]]:
    """Two installations with the same lists: their `flask recipients …`, and their databases."""
    folder = tmp_path_factory.mktemp("round trip")
    each = [installation(load_settings({"DATABASE_URL": f"sqlite:///{folder}/{name}.db"}, folder)) for name in "ab"]
    with ExitStack() as databases:
        opened = [databases.enter_context(open_database(settings)) for settings in each]
        for database in opened:
            for name in LISTS:
                database.lists.add(name, datetime.now(UTC))
        yield [(commands_of(settings), database) for settings, database in zip(each, opened, strict=True)]


LISTS = ["Gala 2026", "=Staff", "Größe", "a b"]
NAMES = st.text("abc_0é名ก็'", min_size=1, max_size=4).filter(is_name) | st.sampled_from(["email", "name", "line"])
VALUES = st.text(st.characters(codec="utf-8") | st.sampled_from("'=+-@,;\t\" "), max_size=10).map(stripped)
PERSON = st.tuples(
    st.dictionaries(NAMES, VALUES.filter(lambda value: value and not check_value(value)), max_size=4),
    st.lists(st.integers(1, len(LISTS)), unique=True),
)


@given(people=st.lists(PERSON, min_size=1, max_size=4))
@examples(max_examples=25, deadline=None)
def test_export_then_import_keeps_addresses_fields_and_lists(
    people: list[tuple[dict[str, str], list[int]]], first_and_second: list[tuple[Command, Database]]
) -> None:
    (first, one), (second, other) = first_and_second
    for database in (one, other):
        for table in ("recipients", "memberships", "field_names"):
            database.connection.execute(f"DELETE FROM {table}")
    one.recipients.add(
        [
            Address(f"p{place}@example.com", f"p{place}@example.com", as_json(fields), str(lists) if lists else "")
            for place, (fields, lists) in enumerate(people)
        ],
        datetime.now(UTC),
        field_names={name for fields, _ in people for name in fields},
    )
    exported = first("export").stdout_bytes
    result = second("import", "--fields", "-", stdin=exported)
    assert result.exit_code == 0, result.output
    assert fields(one) == fields(other)
    assert second("export").stdout_bytes == exported


@pytest.mark.parametrize("export", exports(), ids=lambda export: export.name)
def test_an_unmodified_export_is_imported_without_editing(
    recipients: Command, database: Database, export: Export
) -> None:
    result = recipients("import", "-", stdin=export.content)
    assert result.exit_code == 0, result.output
    assert set(stored(database)) == {*ADDRESSES}
    first, last = export.first_name, export.last_name
    result = recipients("import", "--field", first, "--field", last, "-", stdin=export.content)
    assert result.exit_code == 0, result.output
    assert {each.address: each.fields for each in database.recipients.page()} == {
        person.address: {first: person.first_name, last: person.last_name} for person in PEOPLE
    }
