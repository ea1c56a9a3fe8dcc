"""Importing in the browser: which column has the addresses, which become personal fields, and the list."""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from tests.support.web.api_client import Api
from tests.support.web.forms import csrf_token
from tests.support.web.recipient_pages import BROWSER, everyone, get

PEOPLE = "E-Mail;First name;Seat;Notes\nada@example.com;Ada;C 14;x\nbob@example.com;Bob;;\nbad;Cy;1;\n"


@pytest.fixture
def where() -> dict[str, str]:
    """SQLite: what differs between databases is tested in tests/storage/recipients/test_added_fields.py."""
    return {}


@pytest.fixture(autouse=True)
def _finished() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("import "):
            thread.join()


def upload(api: Api, text: str | bytes) -> str:
    data = text.encode() if isinstance(text, str) else text
    fields = {"csrf_token": csrf_token(get(api, "/recipients/import")), "file": (io.BytesIO(data), "people.csv")}
    answer = api.client.post("/recipients/import", data=fields, headers=BROWSER)
    assert answer.status_code == 303, answer.text
    return get(api, answer.location)


def post(api: Api, step: str, **fields: str) -> str:
    """Return the page that follows. In the names of columns, `_` stands for `-`."""
    data = {name.replace("column_", "column-"): value for name, value in fields.items()}
    if "column-0" in data:
        data["columns"] = "4"
    data["csrf_token"] = csrf_token(get(api, "/recipients"))
    answer = api.client.post(f"/recipients/imports/1/{step}", data=data, headers=BROWSER)
    assert answer.status_code == 303, answer.text
    return get(api, answer.location)


def chosen(page: str) -> list[str]:
    """What is selected for each column."""
    selects = re.findall(r'<select class="select" name="column-\d+".*?</select>', page, re.DOTALL)
    return [(re.findall(r'<option value="([^"]*)" selected>', select) or [""])[0] for select in selects]


def fields(api: Api) -> dict[str, dict[str, str]]:
    return {each.address.partition("@")[0]: each.fields for each in everyone(api)}


def test_usual_columns_are_proposed_and_others_can_be_chosen(api: Api) -> None:
    page = upload(api, PEOPLE)
    assert chosen(page) == ["@", "first_name", "", ""]
    assert "<bdi>Ada, Bob, Cy</bdi>" in page and '<option value="seat">Field seat</option>' in page
    page = post(api, "import", column_0="@", column_1="name", column_2="seat", column_3="")
    assert "The columns have changed. Review the result, then import." in page
    assert chosen(page) == ["@", "name", "seat", ""] and everyone(api) == []
    page = post(api, "import", column_0="@", column_1="name", column_2="seat", column_3="")
    assert "<h1>Imported</h1>" in page
    assert fields(api) == {"ada": {"name": "Ada", "seat": "C 14"}, "bob": {"name": "Bob"}}


def test_a_second_import_overwrites_values_and_proposes_the_fields_that_exist(api: Api) -> None:
    upload(api, PEOPLE)
    post(api, "read", column_0="@", column_2="seat")
    assert "<h1>Imported</h1>" in post(api, "import")
    upload(api, "Email,Seat\nada@example.com,D 1\nbob@example.com,\n")
    page = get(api, "/recipients/imports/2")
    assert chosen(page) == ["@", "seat"] and "Update 2 recipients" in page
    api.client.post("/recipients/imports/2/import", data={"csrf_token": csrf_token(page)}, headers=BROWSER)
    assert fields(api) == {"ada": {"seat": "D 1"}, "bob": {}}


def test_invalid_rows_come_first_and_are_given_back_whole(api: Api) -> None:
    page = upload(api, PEOPLE)
    assert page.index("1 line cannot be imported") < page.index(">Columns</h2>")
    assert "<bdi>bad;Cy;1;</bdi>" in page
    answer = api.client.get("/recipients/imports/1/bad-lines.csv")
    assert answer.text.splitlines() == [
        "\ufeffline,reason,E-Mail,First name,Seat,Notes",
        "4,bad is not valid: An email address must have an @-sign.,bad,Cy,1,",
    ]
    post(api, "import")
    corrected = answer.text.replace(",bad,", ",cy@example.com,").replace("\r\n", "\r\n", 1) + "7,x,bad,Dee,,\r\n"
    upload(api, corrected)
    again = api.client.get("/recipients/imports/2/bad-lines.csv").text.splitlines()
    assert again[0] == "\ufeffline,reason,E-Mail,First name,Seat,Notes" and again[1].endswith(",bad,Dee,,")
    token = csrf_token(get(api, "/recipients"))
    api.client.post("/recipients/imports/2/import", data={"csrf_token": token}, headers=BROWSER)
    assert fields(api)["cy"] == {"first_name": "Cy"}


def test_when_two_columns_have_addresses_the_page_asks(api: Api) -> None:
    page = upload(api, "Buyer,Guest\na@example.com,b@example.com\nc@example.com,d@example.com\n")
    assert "Which column has the addresses?" in page and "several columns have addresses: Buyer, Guest" in page
    assert chosen(page) == ["", ""] and "Imported" not in page
    assert "choose the address column" in post(api, "import")
    assert "only one column can have the addresses" in post(api, "read", column_0="@", column_1="@")
    page = post(api, "read", column_0="", column_1="@")
    assert "Import 2 new recipients" in page and chosen(page) == ["", "@"]
    post(api, "import", column_0="", column_1="@")
    assert list(fields(api)) == ["b", "d"]


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"column_1": "x", "column_2": "x"}, "two columns cannot become the same field"),
        ({"column_1": "First Name"}, "is not a valid name: use only lower-case letters, digits and _"),
    ],
)
def test_fields_that_cannot_be_are_named(api: Api, choices: dict[str, str], reason: str) -> None:
    upload(api, PEOPLE)
    assert reason in post(api, "import", column_0="@", **choices)
    assert everyone(api) == []


def test_everyone_joins_a_list_and_undoing_takes_them_off_again(api: Api) -> None:
    upload(api, PEOPLE)
    page = post(api, "import", new_list="Winter Gala")
    assert "<dt>Added to lists</dt><dd>2</dd>" in page
    with api.installation.database() as database:
        assert [each.recipient.address for each in database.lists.members("winter gala")] == [
            "ada@example.com",
            "bob@example.com",
        ]
        database.lists.leave(1, [1], datetime.now(UTC))
    upload(api, PEOPLE)
    page = get(api, "/recipients/imports/2")
    assert '<option value="Winter Gala">' in page
    data = {"csrf_token": csrf_token(page), "list": "Winter Gala"}
    api.client.post("/recipients/imports/2/import", data=data, headers=BROWSER)
    assert "<dt>Left the list</dt><dd>1 <small>(not added again)</small></dd>" in get(api, "/recipients/imports/2")
    post(api, "undo")
    with api.installation.database() as database:
        assert [each.recipient.address for each in database.lists.members("winter gala") if not each.left_at] == []
    assert list(fields(api)) == ["ada"]  # who left a list is not forgotten


def test_a_list_that_does_not_exist_can_be_created_from_the_preview(api: Api) -> None:
    page = upload(api, "email,recipient_lists\na@example.com,Gala; Staff\nb@example.com,\nc@example.com,Gala\n")
    assert "2 lines cannot be imported" in page and 'there is no list "Gala"; there are no lists yet' in page
    assert "The file names lists that do not exist: <bdi>Gala</bdi>, <bdi>Staff</bdi>." in page
    page = post(api, "lists")
    assert "Import 3 new recipients" in page
    post(api, "import")
    with api.installation.database() as database:
        found = {each.name: each.members for each in database.lists.page()}
    assert found == {"Gala": 2, "Staff": 1}
    assert "there is no list" in post_unknown(api)


def post_unknown(api: Api) -> str:
    upload(api, "x@example.com\n")
    data = {"csrf_token": csrf_token(get(api, "/recipients")), "list": "Nowhere"}
    return get(api, api.client.post("/recipients/imports/2/import", data=data, headers=BROWSER).location)
