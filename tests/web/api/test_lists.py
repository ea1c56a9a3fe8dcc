"""/api/lists: lists and their members."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from tests.support.web.api_client import Api, fields_of, is_problem

NAMES = [
    *("gala-2026", "Gala 2026", "a/b", "a//b/", "/", "50 %", "50%25", "a?b#c", "members", "a&b=c+d", "Größe 日本 😀"),
    *("%2F", "...", "1", "'\"<b>", "x" * 100),
]


def add(api: Api, name: str) -> Any:
    answer = api("POST", "/lists", {"name": name})
    assert answer.status_code == 201, answer.text
    return answer.json


def addresses(api: Api, name: str) -> list[str]:
    members = api.get(f"/lists/{quote(name, safe='')}/members")["members"]
    return [each["address"] for each in members if each["left_at"] is None]


def change(api: Api, method: str, name: str, *members: str) -> Any:
    answer = api(method, f"/lists/{name}/members", {"addresses": members})
    assert answer.status_code == 200, answer.text
    return answer.json


def leave(api: Api, name: str, address: str) -> None:
    with api.installation.database() as database:
        (member,) = (each for each in database.lists.members(name) if each.recipient.address == address)
        database.lists.leave(member.recipient.recipient_id, [database.lists.require(name).list_id], member.joined_at)


def test_a_list_is_created_shown_and_deleted(api: Api) -> None:
    created = add(api, "Gala 2026")
    assert created.keys() == {"list_id", "name", "created_at", "archived_at", "members"}
    assert (created["name"], created["members"], created["archived_at"]) == ("Gala 2026", 0, None)
    assert api.get("/lists/gala%202026") == created
    assert api("DELETE", "/lists/GALA%202026").status_code == 204
    assert is_problem(api("GET", "/lists/Gala%202026"), 404, 'there is no list "Gala 2026"; there are no lists yet')
    assert is_problem(api("DELETE", "/lists/Gala%202026"), 404, "there is no list")


def test_a_name_is_used_once_whatever_its_case(api: Api) -> None:
    add(api, "Straße")
    assert is_problem(api("POST", "/lists", {"name": "STRASSE"}), 409, 'a list named "Straße" already exists')
    add(api, "other")
    assert is_problem(api("PATCH", "/lists/other", {"name": "strasse"}), 409, "already")
    assert api("PATCH", "/lists/strasse", {"name": "STRASSE"}).json["name"] == "STRASSE"  # type: ignore[index]


@pytest.mark.parametrize(
    "name", ["", " a", "a,b", "a;b", "a\n", "\u202e", "x" * 101, "a/members", "a/Members/b", "..", 5]
)
def test_a_name_that_no_list_may_have_is_refused(api: Api, name: object) -> None:
    assert fields_of(api("POST", "/lists", {"name": name})) == ["name"]


@pytest.mark.parametrize("body", [{}, {"name": "a", "members": []}, [], "a", {"name": ["a"]}])
def test_a_body_that_is_not_a_list_is_refused(api: Api, body: object) -> None:
    assert fields_of(api("POST", "/lists", body))


def test_every_name_is_reached_by_its_percent_encoded_form(api: Api) -> None:
    for name in NAMES:
        add(api, name)
    for name in NAMES:
        url = quote(name, safe="")
        assert api.get(f"/lists/{url}")["name"] == name
        assert api.post(f"/lists/{url}/members", {"addresses": ["ada@example.com"]})["known"] == 0
        assert addresses(api, name) == ["ada@example.com"]
        assert api("DELETE", f"/lists/{url}/members/ada%40example.com").status_code == 204
        assert api("DELETE", f"/lists/{url}").status_code == 204
    assert api.get("/lists") == {"lists": [], "next": None}


def test_lists_are_in_the_order_of_their_names_and_come_in_pages(api: Api) -> None:
    for name in ("b", "C", "a", "D"):
        add(api, name)
    api("PATCH", "/lists/c", {"archived": True})
    first = api.get("/lists?limit=3")
    assert [each["name"] for each in first["lists"]] == ["a", "b", "C"]
    second = api.get(first["next"].removeprefix("/api"))
    assert ([each["name"] for each in second["lists"]], second["next"]) == (["D"], None)
    assert [each["name"] for each in api.get("/lists?archived=true")["lists"]] == ["C"]
    assert [each["name"] for each in api.get("/lists?archived=false")["lists"]] == ["a", "b", "D"]
    assert fields_of(api("GET", "/lists?archived=yes&limit=0&x=1")) == ["x", "archived", "limit"]


def test_a_list_is_renamed_archived_and_taken_back(api: Api) -> None:
    created = add(api, "a")
    renamed = api("PATCH", "/lists/a", {"name": "b", "archived": True}).json
    assert renamed is not None and renamed["list_id"] == created["list_id"]
    assert renamed["name"] == "b" and renamed["archived_at"] is not None
    assert is_problem(api("GET", "/lists/a"), 404)
    assert api("PATCH", "/lists/B", {"archived": False}).json["archived_at"] is None  # type: ignore[index]
    assert fields_of(api("PATCH", "/lists/b", {})) == ["body"]
    assert fields_of(api("PATCH", "/lists/b", {"archived": "yes", "colour": "red"})) == ["colour", "archived"]
    assert is_problem(api("PATCH", "/lists/x", {"archived": True}), 404, "existing lists: b")


def test_members_are_added_and_recipients_created(api: Api) -> None:
    add(api, "staff")
    api.installation.add_recipients(2)
    counts = change(api, "POST", "staff", "r0@example.com", "ada@example.com", "ADA@example.com")
    assert counts == {"added": 2, "known": 0, "left": 0, "created": 1}
    assert change(api, "POST", "STAFF", "r1@example.com", "Ada@Example.com") == {
        "added": 1,
        "known": 1,
        "left": 0,
        "created": 0,
    }
    assert api.get("/lists/staff")["members"] == 3
    (member, *_) = api.get("/lists/staff/members")["members"]
    assert member.keys() == {"recipient_id", "address", "status", "joined_at", "left_at", "added_by"}
    assert (member["address"], member["status"], member["added_by"]) == ("r0@example.com", "active", "program")
    assert api.get("/recipients/ada@example.com")["status"] == "active"


def test_put_replaces_all_members(api: Api) -> None:
    add(api, "staff")
    change(api, "PUT", "staff", "a@example.com", "b@example.com", "c@example.com")
    counts = change(api, "PUT", "staff", "C@example.com", "d@example.com", "b@example.com", "d@example.com")
    assert counts == {"added": 1, "removed": 1, "kept": 2, "left": 0}
    assert addresses(api, "staff") == ["b@example.com", "c@example.com", "d@example.com"]
    assert change(api, "PUT", "staff") == {"added": 0, "removed": 3, "kept": 0, "left": 0}
    assert api.get("/recipients/a@example.com")["status"] == "active"


def test_someone_who_left_stays_out_and_is_counted(api: Api) -> None:
    add(api, "staff")
    change(api, "PUT", "staff", "a@example.com", "b@example.com")
    leave(api, "staff", "a@example.com")
    assert change(api, "POST", "staff", "a@example.com") == {"added": 0, "known": 0, "left": 1, "created": 0}
    counts = change(api, "PUT", "staff", "a@example.com", "c@example.com")
    assert counts == {"added": 1, "removed": 1, "kept": 0, "left": 1}
    assert addresses(api, "staff") == ["c@example.com"]
    assert is_problem(api("DELETE", "/lists/staff/members/a@example.com"), 404, "not a member")
    (left,) = (each for each in api.get("/lists/staff/members")["members"] if each["address"] == "a@example.com")
    assert left["left_at"] is not None


def test_a_removed_member_can_be_added_again(api: Api) -> None:
    add(api, "staff")
    change(api, "POST", "staff", "a@example.com")
    assert api("DELETE", "/lists/staff/members/A@EXAMPLE.com").status_code == 204
    assert is_problem(api("DELETE", "/lists/staff/members/a@example.com"), 404, "not a member")
    assert is_problem(api("DELETE", "/lists/staff/members/x@example.com"), 404, "recipient not found")
    assert change(api, "POST", "staff", "a@example.com")["added"] == 1


def test_nothing_changes_if_an_address_is_invalid_or_the_list_unknown(api: Api) -> None:
    add(api, "staff")
    change(api, "POST", "staff", "a@example.com")
    for method in ("POST", "PUT"):
        answer = api(method, "/lists/staff/members", {"addresses": ["b@example.com", "b"]})
        assert fields_of(answer) == ["addresses[1]"]
        answer = api(method, "/lists/stuff/members", {"addresses": ["b@example.com"]})
        assert is_problem(answer, 404, "existing lists: staff")
    assert fields_of(api("POST", "/lists/staff/members", {"addresses": []})) == ["addresses"]
    assert fields_of(api("PUT", "/lists/staff/members", {})) == ["addresses"]
    assert addresses(api, "staff") == ["a@example.com"]
    assert is_problem(api("GET", "/recipients/b@example.com"), 404)


def test_members_come_in_pages(api: Api) -> None:
    add(api, "staff")
    change(api, "POST", "staff", *(f"{letter}@example.com" for letter in "abc"))
    first = api.get("/lists/staff/members?limit=2")
    assert [each["address"] for each in first["members"]] == ["a@example.com", "b@example.com"]
    second = api.get(first["next"].removeprefix("/api"))
    assert ([each["address"] for each in second["members"]], second["next"]) == (["c@example.com"], None)
    assert is_problem(api("GET", "/lists/x/members"), 404, "existing lists: staff")


def test_a_list_can_be_replaced_by_fifty_thousand_addresses(api: Api) -> None:
    add(api, "staff")
    many = [f"user{number}@example.com" for number in range(50_001)]
    assert fields_of(api("PUT", "/lists/staff/members", {"addresses": many})) == ["addresses"]
    assert len(fields_of(api("PUT", "/lists/staff/members", {"addresses": ["x"] * 50_000}))) == 1_000
    assert change(api, "PUT", "staff", *many[:5_000])["added"] == 5_000
    assert api.get("/lists/staff")["members"] == 5_000


@pytest.mark.parametrize("path", ["/lists/", "/lists/a/members/", "/lists/a/members/b", "/lists//members"])
def test_other_paths_do_not_exist(api: Api, path: str) -> None:
    assert api("GET", path).status_code in (400, 404, 405)
