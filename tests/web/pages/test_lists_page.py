"""The pages of lists: create, rename, archive and delete a list, and add and remove its members."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from werkzeug.test import TestResponse

from database import Address, Audience, Email, List
from tests.support.web.api_client import Api
from tests.support.web.forms import csrf_token
from tests.support.web.recipient_pages import BROWSER, get
from web.pages import lists

NAMES = r'<a class="main" href="/lists/\d+"><bdi>([^<]+)</bdi>'
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def where() -> dict[str, str]:
    """SQLite: what differs between databases is tested in tests/storage/lists/test_lists.py."""
    return {}


def post(api: Api, path: str, **fields: str) -> TestResponse:
    fields["csrf_token"] = csrf_token(get(api, "/lists"))
    return api.client.post(path, data=fields, headers=BROWSER)


def after(api: Api, path: str, **fields: str) -> str:
    """Return the page that a form leads to."""
    answer = post(api, path, **fields)
    assert answer.status_code == 303, answer.text
    return get(api, answer.location)


def add(api: Api, *names: str) -> list[List]:
    with api.installation.database() as database:
        return [database.lists.add(name, NOW) for name in names]


def counts(page: str) -> list[str]:
    """Return how many lists are in use, and how many are archived."""
    return re.findall(r'<span class="count">(\d+)</span>', page)


def member_addresses(api: Api, name: str) -> list[str]:
    with api.installation.database() as database:
        return [each.recipient.address for each in database.lists.members(name) if each.left_at is None]


class TestLists:
    def test_no_lists_yet_says_what_to_do(self, api: Api) -> None:
        page = get(api, "/lists")
        assert "No lists yet" in page and 'href="/recipients/import"' in page and "<table" not in page

    def test_a_list_is_created_and_shown(self, api: Api) -> None:
        page = after(api, "/lists", name="Winter & Gala")
        assert "Created the list Winter & Gala." in page
        assert "Nobody is on this list yet" in page
        assert re.findall(NAMES, get(api, "/lists")) == ["Winter & Gala"]

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("", "The name is empty."),
            ("GALA", "gala"),
            ("a;b", "comma or semicolon"),
            ("x" * 101, "too long"),
            (" padded", "space"),
            ("a\u202eb", "invisible"),
        ],
    )
    def test_a_name_that_cannot_be_used_is_refused_with_the_reason(self, api: Api, name: str, reason: str) -> None:
        add(api, "gala")
        answer = post(api, "/lists", name=name)
        assert answer.status_code == 400
        (error,) = re.findall(r'<p class="error" id="wrong">([^<]+)</p>', answer.text)
        assert reason in error
        assert re.findall(NAMES, answer.text) == ["gala"]

    def test_long_lists_have_pages(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lists, "PAGE_SIZE", 2)
        add(api, "e", "d", "c & more", "b", "A")
        shown, path = [], "/lists"
        while path:
            page = get(api, path)
            shown.append(re.findall(NAMES, page))
            following = re.search(r'href="([^"]+)" rel="next"', page)
            path = following[1] if following else ""
        assert shown == [["A", "b"], ["c & more", "d"], ["e"]]

    def test_archived_lists_are_apart(self, api: Api) -> None:
        (old, _) = add(api, "old", "new")
        page = after(api, f"/lists/{old.list_id}/archive")
        assert "Archived old." in page and "This list is archived" in page and "Write to this list" not in page
        assert ">old<" not in get(api, "/lists") and counts(get(api, "/lists")) == ["1", "1"]
        assert ">old<" in get(api, "/lists?archived=1") and counts(get(api, "/lists?archived=1")) == ["1", "1"]
        assert "Unarchived old." in after(api, f"/lists/{old.list_id}/unarchive")
        assert ">old<" in get(api, "/lists")


class TestOneList:
    def test_addresses_are_added_and_removed(self, api: Api) -> None:
        (gala,) = add(api, "Gala")
        page = after(api, f"/lists/{gala.list_id}/members", addresses="ann@example.com\nBob@example.com\n")
        assert "Added 2 recipients to the list, 2 of them new." in page
        assert member_addresses(api, "gala") == ["ann@example.com", "Bob@example.com"]
        assert "Already on the list: 1." in after(api, f"/lists/{gala.list_id}/members", addresses="bob@example.com")
        page = after(api, f"/lists/{gala.list_id}/members/1/remove")
        assert "Removed ann@example.com from the list." in page
        assert member_addresses(api, "gala") == ["Bob@example.com"]
        assert "no longer on the list" in after(api, f"/lists/{gala.list_id}/members/1/remove")
        with api.installation.database() as database:
            recipient = database.recipients.get(1)
        assert recipient is not None and recipient.status == "active"

    def test_members_are_found_by_any_part_of_their_address(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lists, "PAGE_SIZE", 1)
        with api.installation.database() as database:
            number = database.lists.add("gala", NOW).list_id
            addresses = [Address(f"{name}@example.com", f"{name}@example.com") for name in ("ada", "bob", "adam")]
            database.lists.add_members("gala", addresses, NOW, "page")
        page = get(api, f"/lists/{number}?search=ADA")
        assert "ada@example.com" in page and f'href="/lists/{number}?search=ADA&after=1"' in page
        page = get(api, f"/lists/{number}?search=ADA&after=1")
        assert "adam@example.com" in page and f'href="/lists/{number}?search=ADA">First page' in page
        assert "No members match <strong><bdi>zz</bdi>" in get(api, f"/lists/{number}?search=zz")
        assert get(api, f"/lists/{number}?search=%00", 400)

    def test_one_invalid_line_adds_nobody(self, api: Api) -> None:
        (gala,) = add(api, "Gala")
        answer = post(api, f"/lists/{gala.list_id}/members", addresses="ann@example.com\nnobody\n")
        assert answer.status_code == 400
        assert "Nothing added: 1 entry is not valid." in answer.text and "Line 2: <bdi>nobody" in answer.text
        assert re.search(r">ann@example\.com\s+nobody\s*</textarea>", answer.text)
        assert member_addresses(api, "Gala") == []

    def test_those_who_left_are_shown_and_stay_out(self, api: Api) -> None:
        (gala,) = add(api, "Gala")
        after(api, f"/lists/{gala.list_id}/members", addresses="ann@example.com")
        with api.installation.database() as database:
            database.lists.leave(1, [gala.list_id], NOW)
        page = after(api, f"/lists/{gala.list_id}/members", addresses="ann@example.com")
        assert "Not added, because they left this list: 1." in page
        assert ">Left</span>" in page and "/members/1/remove" not in page

    def test_a_rename_keeps_the_address_of_the_page(self, api: Api) -> None:
        gala, _ = add(api, "Gala", "Taken")
        assert "Renamed to Spring Gala." in after(api, f"/lists/{gala.list_id}/rename", name="Spring Gala")
        answer = post(api, f"/lists/{gala.list_id}/rename", name="taken")
        assert answer.status_code == 400 and "Not renamed" in answer.text and 'value="taken"' in answer.text
        assert "<bdi>Spring Gala</bdi></h1>" in answer.text

    def test_emails_that_wait_for_it_are_shown(self, api: Api) -> None:
        (gala,) = add(api, "Gala")
        with api.installation.database() as database:
            database.lists.add_members("Gala", [Address("a@example.com", "a@example.com")], NOW, "page")
            audience = Audience(lists=("gala",))
            database.emails.save(Email(7, "Doors & open", "c", NOW + timedelta(days=1), audience=audience), NOW)
            database.emails.save(Email(8, "Elsewhere", "c", NOW + timedelta(days=1)), NOW)
        page = get(api, f"/lists/{gala.list_id}")
        assert 'href="/emails/7"><bdi>Doors & open</bdi>' in page and "Elsewhere" not in page
        assert "will be put on hold" in page

    def test_a_deleted_list_is_gone_and_its_people_stay(self, api: Api) -> None:
        (gala,) = add(api, "Gala")
        after(api, f"/lists/{gala.list_id}/members", addresses="ann@example.com")
        assert "Deleted the list Gala." in after(api, f"/lists/{gala.list_id}/delete")
        assert "This list was already deleted." in after(api, f"/lists/{gala.list_id}/delete")
        assert api.client.get(f"/lists/{gala.list_id}", headers=BROWSER).status_code == 404
        assert "ann@example.com" in get(api, "/recipients")

    @pytest.mark.parametrize("path", ["/lists/7", "/lists/99999999999999999999", "/lists/x", "/lists/0?after=x"])
    def test_unknown_lists_are_not_found(self, api: Api, path: str) -> None:
        assert api.client.get(path, headers=BROWSER).status_code in (400, 404)
        if path == "/lists/7":
            for act in ("members", "members/1/remove", "rename", "archive", "unarchive"):
                assert post(api, f"{path}/{act}", addresses="a@example.com", name="x").status_code == 404, act


class TestRecipients:
    """The pages of recipients show lists, and add people to them."""

    def test_the_selected_are_added_to_a_list(self, api: Api) -> None:
        add(api, "Gala", "Staff")
        api.installation.add_recipients(3)
        assert get(api, "/recipients").count('name="recipient"') == 3
        data = {"recipient": ["1", "3"], "list": "Gala", "csrf_token": csrf_token(get(api, "/recipients"))}
        for _ in range(2):
            answer = api.client.post("/recipients/add-to-list", data=data, headers=BROWSER)
            assert (answer.status_code, answer.location) == (303, "/recipients")
        page = get(api, "/recipients")
        assert "Added 2 recipients to the list." in page and "Already on the list: 2." in page
        assert member_addresses(api, "Gala") == ["r0@example.com", "r2@example.com"]

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"list": "Gala"}, "Select at least one recipient and a list."),
            ({"recipient": "1"}, "Select at least one recipient and a list."),
            ({"recipient": "99", "list": "Gala"}, "Select at least one recipient and a list."),
            ({"recipient": "1", "list": "Gule"}, "Gala"),
        ],
        ids=["nobody", "no list", "removed meanwhile", "an unknown list"],
    )
    def test_nobody_is_added_by_mistake(self, api: Api, fields: dict[str, str], reason: str) -> None:
        add(api, "Gala")
        api.installation.add_recipients(1)
        assert reason in after(api, "/recipients/add-to-list", **fields)
        assert member_addresses(api, "Gala") == []

    def test_a_recipient_shows_lists_and_personal_fields(self, api: Api) -> None:
        gala, staff = add(api, "Gala & Co", "Staff")
        api.post("/recipients", {"recipients": [{"address": "a@example.com", "fields": {"name": "Ada <3"}}]})
        with api.installation.database() as database:
            for name in ("Gala & Co", "Staff"):
                database.lists.add_members(name, [Address("a@example.com", "a@example.com")], NOW, "page")
            database.lists.leave(1, [staff.list_id], NOW)
        page = get(api, "/recipients/1")
        assert f'href="/lists/{gala.list_id}"><bdi>Gala & Co</bdi></a><small>since ' in page
        assert f'href="/lists/{staff.list_id}"><bdi>Staff</bdi></a><small>left ' in page
        remove = f"/lists/{gala.list_id}/members/1/remove"
        assert f'formaction="{remove}"' in page and f"/lists/{staff.list_id}/members" not in page
        assert "Not on a list" not in page and "Removed a@" in after(api, remove, next="/recipients/1")
        assert "<bdi>name</bdi></dt><dd><bdi>Ada <3</bdi>" in page
