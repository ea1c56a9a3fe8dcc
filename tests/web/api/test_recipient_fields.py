"""`POST /api/recipients` with personal fields and lists, and what is given out of them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.support.web.api_client import Api


def post(api: Api, *recipients: object, **more: object) -> tuple[int, dict[str, object]]:
    answer = api.client.post("/api/recipients", json={"recipients": list(recipients), **more})
    assert answer.json is not None
    return answer.status_code, answer.json


def errors(answer: dict[str, object]) -> dict[str, str]:
    found = answer["errors"]
    assert isinstance(found, list)
    return {each["field"]: each["message"] for each in found}


def create_lists(api: Api, *names: str) -> None:
    for name in names:
        assert api.client.post("/api/lists", json={"name": name}).status_code in (200, 201)


def test_recipients_are_added_or_updated_with_fields_and_lists(api: Api) -> None:
    create_lists(api, "Gala", "Staff")
    ada = {"address": "Ada@example.com", "fields": {"first_name": " Ada ", "größe": "L", "seat": ""}, "lists": ["GALA"]}
    status, answer = post(api, ada, {"address": "bob@example.com"})
    assert status == 200, answer
    assert {name: answer[name] for name in ("added", "known", "joined", "left")} == {
        "added": 2,
        "known": 0,
        "joined": 1,
        "left": 0,
    }
    assert isinstance(answer["recipients"], list)
    first, second = answer["recipients"]
    assert (first["fields"], first["lists"]) == ({"first_name": "Ada", "größe": "L"}, ["Gala"])
    assert (second["fields"], second["lists"]) == ({}, [])
    update = {"address": "ada@example.com", "fields": {"größe": "XL", "first_name": ""}, "lists": ["staff", "gala"]}
    status, answer = post(api, update)
    assert (answer["added"], answer["known"], answer["joined"]) == (0, 1, 1)
    document = api.client.get("/api/recipients/ada@example.com").json
    assert document and document["fields"] == {"first_name": "Ada", "größe": "XL"}
    assert document["lists"] == ["Gala", "Staff"] and document["address"] == "Ada@example.com"
    listed = api.client.get("/api/recipients").json
    assert listed and [each["lists"] for each in listed["recipients"]] == [["Gala", "Staff"], []]


def test_one_invalid_recipient_and_nothing_is_saved(api: Api) -> None:
    create_lists(api, "Gala")
    status, answer = post(
        api,
        {"address": "a@example.com", "fields": {"name": "A"}, "lists": ["Gala"]},
        {"address": "b@", "fields": {"First name": "B"}},
        {"fields": {"name": "x" * 1001}, "lists": ["Gaal"]},
        {"address": "c@example.com", "fields": {"name": "a\r\nBcc: z@example.com"}, "list": ["Gala"]},
        {"address": "d@example.com", "fields": {"name": 7}, "lists": "Gala"},
        {"address": "e@example.com", "fields": {f"f{number}": "x" for number in range(33)}},
        {"address": "f@example.com", "fields": {"recipient_email": "x"}},
        "g@example.com",
    )
    assert status == 400
    found = errors(answer)
    rule = "use only lower-case letters, digits and _, such as first_name"
    assert found["recipients[1].fields"] == f"First name is not a valid name: {rule}"
    assert found["recipients[2].address"] == "is missing"
    assert found["recipients[2].fields"] == "name is too long (limit: 1,000 characters)"
    assert found["recipients[2].lists[0]"] == 'is unknown: there is no list "Gaal"; existing lists: Gala'
    assert found["recipients[3].fields"] == "name contains a line break or control character"
    assert "did you mean lists" in found["recipients[3].list"]
    assert found["recipients[4].fields"] == "name is not a string"
    assert found["recipients[4].lists"] == "must be a list of 0 to 100 values"
    assert found["recipients[5].fields"] == "has too many fields (limit: 32)"
    assert found["recipients[6].fields"] == "recipient_email cannot be named recipient_email"
    assert found["recipients[7]"] == "is not a JSON object"
    assert api.client.get("/api/recipients").json == {"recipients": [], "next": None}


@pytest.mark.parametrize(
    "body", [{}, {"recipients": []}, {"recipients": {}}, {"addresses": ["a@example.com"], "recipients": []}, []]
)
def test_either_addresses_or_recipients_are_needed(api: Api, body: object) -> None:
    assert api.client.post("/api/recipients", json=body).status_code == 400


def test_too_many_fields_in_all_are_refused(api: Api) -> None:
    for first, status in ((0, 200), (20, 400)):
        fields = {f"f{first + number}": "x" for number in range(20)}
        assert post(api, {"address": "a@example.com", "fields": fields})[0] == status


def test_who_left_a_list_stays_out_and_is_counted(api: Api) -> None:
    create_lists(api, "Gala")
    post(api, {"address": "a@example.com", "lists": ["Gala"]})
    with api.installation.database() as database:
        database.lists.leave(1, [1], datetime.now(UTC))
    _, answer = post(api, {"address": "a@example.com", "lists": ["Gala"]})
    assert (answer["joined"], answer["left"]) == (0, 1)
    csv = "recipient_email,recipient_lists\na@example.com,Gala\nb@example.com,gala\n"
    imported = api.client.post("/api/recipients/import", data=csv, content_type="text/csv")
    assert imported.json == {"added": 1, "known": 1, "repeated": 0, "left_out": 0, "joined": 1, "left": 1}


def test_an_unknown_list_in_a_file_is_named_with_its_line(api: Api) -> None:
    csv = "recipient_email,recipient_lists\na@example.com,\nb@example.com,Gala\n"
    answer = api.client.post("/api/recipients/import", data=csv, content_type="text/csv")
    assert answer.status_code == 400 and answer.json
    assert errors(answer.json) == {"line 3": 'there is no list "Gala"; there are no lists yet'}


def test_the_exported_file_has_lists_and_fields(api: Api) -> None:
    create_lists(api, "Gala")
    post(api, {"address": "a@example.com", "fields": {"name": "=1+1"}, "lists": ["Gala"]}, {"address": "b@example.com"})
    assert api.client.get("/api/recipients?format=csv").text.splitlines() == [
        "recipient_email,recipient_status,recipient_lists,name",
        "a@example.com,active,Gala,'=1+1",
        "b@example.com,active,,",
    ]
