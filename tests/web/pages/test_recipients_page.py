"""The recipient pages: the list, adding, removing, and one recipient's history."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from html import unescape

import pytest
from werkzeug.test import TestResponse

from database import Address
from intake.address import stored_address
from tests.support.web.api_client import Api
from tests.support.web.forms import csrf_token
from tests.support.web.recipient_pages import BROWSER, everyone, get, unsubscribe
from web.pages import recipients


@pytest.fixture
def where() -> dict[str, str]:
    """Use SQLite. tests/storage/recipients/test_recipients.py tests both engines."""
    return {}


def post(api: Api, path: str, **fields: str) -> TestResponse:
    """Submit a form of the list, and return the response."""
    fields["csrf_token"] = csrf_token(get(api, "/recipients"))
    return api.client.post(path, data=fields, headers=BROWSER)


def after(api: Api, path: str, **fields: str) -> str:
    """Submit a form, and return the page that follows."""
    answer = post(api, path, **fields)
    assert answer.status_code == 303, answer.text
    return get(api, answer.location)


def add(api: Api, names: Iterable[str]) -> None:
    addresses = [Address(f"{name}@example.com", f"{name}@example.com") for name in names]
    with api.installation.database() as database:
        database.recipients.add(addresses, datetime.now(UTC))


def listed(page: str) -> list[str]:
    return re.findall(r'aria-label="Select (\S+)@example\.com"', page)


def next_of(page: str) -> str | None:
    found = re.search(r'href="([^"]+)" rel="next"', page)
    return found and found[1]


class TestList:
    def test_an_empty_list_says_what_to_do(self, api: Api) -> None:
        page = get(api, "/recipients")
        assert "No recipients yet" in page
        assert 'href="/recipients/import"' in page and "<table" not in page

    def test_the_counts_are_links_to_lists_of_their_own(self, api: Api) -> None:
        add(api, "abc")
        unsubscribe(api, 2)
        page = get(api, "/recipients")
        links = re.findall(r'<a href="(/recipients[^"]*)"[^>]*>(\w+) <span class="count">(\d+)</span></a>', page)
        assert links == [
            ("/recipients?", "All", "3"),
            ("/recipients?status=active", "Active", "2"),
            ("/recipients?status=unsubscribed", "Unsubscribed", "1"),
            ("/recipients?status=rejected", "Rejected", "0"),
        ]
        assert [listed(get(api, path)) for path, *_ in links] == [["a", "b", "c"], ["a", "c"], ["b"], []]

    def test_a_search_finds_the_beginnings_of_addresses_in_any_case(self, api: Api) -> None:
        add(api, ["anna", "bob", "anne"])
        page = get(api, "/recipients?address_begins=ANN&status=")
        assert listed(page) == ["anna", "anne"]
        assert 'value="ANN"' in page
        assert 'href="/recipients?status=active&address_begins=ANN"' in page
        assert "starts with <strong><bdi>zz</bdi>" in get(api, "/recipients?address_begins=zz")

    def test_the_box_finds_any_part_of_an_address(self, api: Api) -> None:
        add(api, ["h.schmidt", "bob", "schmidtke"])
        assert 'name="search" type="search"' in get(api, "/recipients")
        page = get(api, "/recipients?address_contains=SCHMIDT")
        assert listed(page) == ["h.schmidt", "schmidtke"] and 'value="SCHMIDT"' in page
        assert 'href="/api/recipients?address_contains=SCHMIDT&format=csv"' in page
        assert sorted(listed(get(api, "/recipients?address_contains=%40example"))) == ["bob", "h.schmidt", "schmidtke"]
        assert "with <strong><bdi>009</bdi>" in get(api, "/recipients?address_contains=009")
        assert api.client.get("/recipients?address_contains=%00").status_code == 400

    def test_the_box_finds_names_in_a_list(self, api: Api) -> None:
        add(api, ["ada", "bob", "eve"])
        with api.installation.database() as database:
            database.lists.add("gala & more", datetime.now(UTC))
            people = [Address("ada@example.com", "ada@example.com", '{"name": "Ada Lovelace"}')]
            database.recipients.add(people, datetime.now(UTC), field_names=["name"])
            addresses = [Address(f"{name}@example.com", f"{name}@example.com") for name in ("ada", "eve")]
            database.lists.add_members("gala & more", addresses, datetime.now(UTC), "page")
        page = get(api, "/recipients?search=LOVE+ada")
        assert listed(page) == ["ada"] and 'value="LOVE ada"' in page
        page = get(api, "/recipients?list=gala+%26+more&search=e")
        assert listed(page) == ["ada", "eve"] and "<option selected>gala & more</option>" in page
        assert 'href="/api/recipients?search=e&list=gala+%26+more&format=csv"' in page
        assert 'href="/recipients?search=e&list=gala+%26+more&status=active"' in page
        assert listed(get(api, "/recipients?domain=example.com&list=Gala+%26+more")) == ["ada", "eve"]
        assert "match <strong><bdi>zz</bdi>" in get(api, "/recipients?search=zz")
        assert get(api, "/recipients?list=other", 404)
        for query in ("search=%00", f"search={'x' * 255}", "domain=@"):
            assert get(api, f"/recipients?{query}", 400)

    def test_pages_go_on_within_the_filter(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recipients, "PAGE_SIZE", 2)
        add(api, ["a1", "a2", "b", "a3", "a4", "a5"])
        for query, names in (("", "a1 a2 a3 a4 a5 b"), ("?address_begins=a&status=active", "a1 a2 a3 a4 a5")):
            path: str | None = f"/recipients{query}"
            found = []
            while path:
                page = get(api, path)
                found += listed(page)
                path = next_of(page)
            assert found == names.split()
            assert f'href="/recipients?{"status=active&address_begins=a" if query else ""}">First page' in page

    def test_a_search_whose_place_was_removed_begins_anew(self, api: Api) -> None:
        add(api, "abc")
        assert api("DELETE", "/recipients/1").status_code == 204
        answer = api.client.get("/recipients?address_begins=b&after=1")
        assert (answer.status_code, answer.location) == (303, "/recipients?address_begins=b")
        page = get(api, answer.location)
        assert listed(page) == ["b"] and "Showing the list from the start." in page

    @pytest.mark.parametrize("query", ["status=gone", "after=x", "after=1e3", f"after={2**63}", "address_begins=%00"])
    def test_a_filter_that_cannot_be_is_named(self, api: Api, query: str) -> None:
        page = get(api, f"/recipients?{query}", 400)
        assert "Status must be one of" in page or "not a valid cursor" in page or "invalid character" in page

    @pytest.mark.parametrize(
        "begins", ["%F0%9F%98%80", "%ff", "'; DROP TABLE recipients; --", "<script>", "%", "a" * 9_000]
    )
    def test_any_other_search_is_just_one(self, api: Api, begins: str) -> None:
        add(api, "a")
        assert "Show all" in get(api, f"/recipients?address_begins={begins}")
        assert "<script>" not in api.client.get(f"/recipients?address_begins={begins}").text

    def test_the_filter_is_exported_as_it_is_seen(self, api: Api) -> None:
        add(api, ["anna", "anne", "bob"])
        unsubscribe(api, 1)
        found = re.search(r'href="(/api/recipients[^"]+)"', get(api, "/recipients?address_begins=ANN&status=active"))
        assert found
        rows = api.client.get(found[1]).text.split()
        assert rows == ["recipient_email,recipient_status", "anne@example.com,active"]

    def test_a_row_shows_the_name_and_the_lists_of_a_person(self, api: Api) -> None:
        people = [
            {"address": "a@example.com", "fields": {"name": "Ada <3"}},
            {"address": "b@example.com", "fields": {"first_name": "Bo", "last_name": "Li"}},
            {"address": "c@example.com"},
        ]
        api.post("/recipients", {"recipients": people})
        with api.installation.database() as database:
            for number in range(4):
                database.lists.add(f"List {number}", datetime.now(UTC))
                database.lists.add_members(
                    f"List {number}", [stored_address("a@example.com")], datetime.now(UTC), "page"
                )
        page = get(api, "/recipients")
        assert re.findall(r'<a class="main" [^>]+><bdi>(.*?)</bdi>', page) == ["Ada <3", "Bo Li", "c@example.com"]
        assert re.findall(r'<span class="sub"><bdi>(.*?)</bdi>', page) == ["a@example.com", "b@example.com"]
        assert re.findall(r'class="tag"[^>]*><bdi>(.*?)</bdi>', page) == ["List 0", "List 1", "List 2", "+1"]
        assert "&lt;3" in api.client.get("/recipients").text


class TestAdding:
    def test_each_address_is_said_what_became_of_it(self, api: Api) -> None:
        add(api, ["gone", "known", "left"])
        unsubscribe(api, 3)
        with api.installation.database() as database:
            database.connection.execute("UPDATE recipients SET status = 'rejected' WHERE recipient_id = 1")
        lines = "new@example.com\r\n\r\n KNOWN@example.com \r\nleft@example.com\r\ngone@example.com\r\nNew@Example.com"
        page = after(api, "/recipients", addresses=lines)
        assert "Added 1 recipient: new@example.com." in page
        assert "Already added: KNOWN@example.com." in page
        assert "Not reactivated, because they unsubscribed: left@example.com." in page
        assert "Not reactivated, because the mailbox does not exist: gone@example.com." in page
        assert [each.status for each in everyone(api)] == ["rejected", "active", "unsubscribed", "active"]

    def test_addresses_may_be_typed_with_names_or_as_links(self, api: Api) -> None:
        typed = 'Ada <ada@example.com>\r\n "B, C" <b@example.com>\r\nmailto:d%2Be@example.com?subject=x'
        assert post(api, "/recipients", addresses=typed).status_code == 303
        assert [each.address for each in everyone(api)] == ["ada@example.com", "b@example.com", "d+e@example.com"]

    def test_a_character_that_cannot_be_seen_is_named(self, api: Api) -> None:
        answer = post(api, "/recipients", addresses="ada\ufe0f@example.com\r\na..b@example.com")
        assert answer.status_code == 400 and "U+FE0F VARIATION SELECTOR-16" in answer.text
        assert "must be quoted" in answer.text

    def test_a_recipient_that_todays_rules_refuse_can_still_be_removed(self, api: Api) -> None:
        with api.installation.database() as database:
            database.recipients.add([stored_address("ada\ufe0f@example.com")], datetime.now(UTC))
        assert post(api, "/recipients/1/reactivate").status_code == 303
        assert post(api, "/recipients/1/remove").status_code == 303
        assert everyone(api) == []

    def test_of_many_only_some_are_named(self, api: Api) -> None:
        page = after(api, "/recipients", addresses="\n".join(f"r{number}@example.com" for number in range(900)))
        assert "Added 900 recipients: r0@example.com, r1@example.com, r2@example.com and 897 more." in page

    def test_good_addresses_are_added_and_bad_ones_explained(self, api: Api) -> None:
        typed = "a@example.com\n<b>bad</b>\n\nc@, Bo <b@example.com>;bob smith@x.com"
        answer = post(api, "/recipients", addresses=typed)
        page = unescape(answer.text)
        assert answer.status_code == 200
        assert [each.address for each in everyone(api)] == ["a@example.com", "b@example.com"]
        assert everyone(api)[0].added_by == "page"
        assert "Added 2 recipients: a@example.com, b@example.com." in page
        assert "3 entries were not added, because they are not valid." in page
        assert "Line 2: <bdi>" in page and "Line 4: <bdi>c@ is not valid" in page
        assert "<b>bad</b>\nc@\nbob smith@x.com</textarea>" in page
        assert "<b>" not in answer.text and 'aria-invalid="true"' in page

    def test_only_bad_addresses_are_all_kept(self, api: Api) -> None:
        answer = post(api, "/recipients", addresses="c@\n\nd")
        page = unescape(answer.text)
        assert answer.status_code == 400 and "Nothing added: 2 entries are not valid." in page
        assert "c@\n\nd</textarea>" in page

    def test_addresses_may_be_separated_in_any_way(self, api: Api) -> None:
        typed = "a@example.com, b@example.com;c@example.com d@example.com\nLovelace, Ada <e@example.com>"
        assert post(api, "/recipients", addresses=typed).status_code == 303
        assert [each.address[0] for each in everyone(api)] == ["a", "b", "c", "d", "e"]

    @pytest.mark.parametrize("text", ["", " \r\n\t "])
    def test_nothing_is_no_address(self, api: Api, text: str) -> None:
        answer = post(api, "/recipients", addresses=text)
        assert answer.status_code == 400 and "Enter at least one address" in answer.text

    def test_very_many_are_for_an_import(self, api: Api) -> None:
        answer = post(api, "/recipients", addresses="\n".join(f"r{number}@example.com" for number in range(1_001)))
        assert answer.status_code == 400 and "Line 1,001: <bdi>more than 1,000 addresses" in answer.text
        assert everyone(api) == []

    def test_a_form_of_elsewhere_adds_nobody(self, api: Api) -> None:
        assert api.client.post("/recipients", data={"addresses": "a@example.com"}).status_code == 400
        assert everyone(api) == []


class TestOne:
    def test_removing_twice_is_fine_and_leads_back_to_the_list_as_it_was(self, api: Api) -> None:
        add(api, ["a", "b"])
        page = get(api, "/recipients?status=active&address_begins=")
        assert 'name="next" value="/recipients?status=active&address_begins="' in page
        for sentence in ("Removed a@example.com.", "This recipient was already removed."):
            answer = post(api, "/recipients/1/remove", next="/recipients?status=active")
            assert answer.location == "/recipients?status=active"
            assert sentence in get(api, answer.location)
        assert [each.address for each in everyone(api)] == ["b@example.com"]

    def test_reactivating_twice_is_fine(self, api: Api) -> None:
        add(api, "a")
        unsubscribe(api, 1)
        assert "/recipients/1/reactivate" in get(api, "/recipients")
        assert "Reactivated a@example.com." in after(api, "/recipients/1/reactivate")
        assert "a@example.com is already active." in after(api, "/recipients/1/reactivate")
        assert everyone(api)[0].status == "active"
        assert "/recipients/1/reactivate" not in get(api, "/recipients/1")

    def test_one_who_was_removed_cannot_be_reactivated(self, api: Api) -> None:
        assert "This recipient has been removed." in after(api, "/recipients/1/reactivate")

    def test_nobody_is_sent_to_another_site(self, api: Api) -> None:
        add(api, "a")
        assert post(api, "/recipients/1/remove", next="//evil.example").location == "/"

    @pytest.mark.parametrize("number", ["1", "0", str(2**63 - 1), str(2**63), "9" * 400])
    def test_a_number_of_nobody_is_a_page_with_a_way_back(self, api: Api, number: str) -> None:
        assert "Recipient not found" in get(api, f"/recipients/{number}", 404)
        post(api, f"/recipients/{number}/remove")
        assert "already removed" in get(api, "/recipients")

    def test_it_shows_what_was_sent_with_what_became_of_it(self, api: Api) -> None:
        add(api, ["a", "b"])
        api.installation.save_email(7, subject="<i>Hello</i>")
        assert "No emails to this recipient yet." in get(api, "/recipients/1")
        assert api.sweep() == []
        with api.installation.database() as database:
            database.connection.execute(
                "UPDATE deliveries SET status = 'failed', reply = '550 5.1.1 <no>' WHERE recipient_id = 2"
            )
        page = api.client.get("/recipients/2", headers=BROWSER).text
        assert '<a class="main" href="/emails/7"><bdi>&lt;i&gt;Hello&lt;/i&gt;</bdi></a>' in page
        assert "550 5.1.1 &lt;no&gt;" in page and '<span class="badge bad">Failed</span>' in page

    def test_its_history_has_pages(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(recipients, "PAGE_SIZE", 2)
        add(api, "a")
        for number in range(5):
            api.installation.save_email(number, due_in=-10 * number - 1)
        api.sweep()
        path: str | None = ""
        found = []
        while path is not None:
            page = get(api, f"/recipients/1{path}")
            found += re.findall(r'"/emails/(\d+)"', page)
            path = next_of(page)
        assert found == ["0", "1", "2", "3", "4"]

    @pytest.mark.parametrize("cursor", ["x", "1", "99999999999999.1", f"1.{2**63}", "1.-1e5"])
    def test_a_page_that_was_never_given_out_is_refused(self, api: Api, cursor: str) -> None:
        add(api, "a")
        assert "not a valid cursor" in get(api, f"/recipients/1?after={cursor}", 400)


def test_removing_asks_first(api: Api) -> None:
    api.installation.add_recipients(1)
    for path in ("/recipients", "/recipients/1"):
        page = get(api, path)
        (dialog,) = re.findall(
            r'id="(remove[^"]*)" popover [^>]*>\s*<form method="post" action="/recipients/1/remove"', page
        )
        assert f'popovertarget="{dialog}"' in page
        assert page.count("/recipients/1/remove") == 1


class TestUndo:
    def undo(self, api: Api, page: str, **changes: str) -> str:
        """Press Undo on a page, and return the page that follows."""
        form = re.findall(r'<form[^>]* action="/recipients/undo"[^>]*>(.*?)</form>', page, re.DOTALL)[0]
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', form))
        answer = api.client.post("/recipients/undo", data=fields | changes, headers=BROWSER)
        assert answer.status_code == 303, answer.text
        return get(api, answer.location)

    def test_a_removal_is_undone_with_a_button_on_the_next_page(self, api: Api) -> None:
        add(api, ["a", "b"])
        before = everyone(api)
        page = after(api, "/recipients/1/remove", next="/recipients?status=active")
        assert 'class="toast" role="status" data-until="' in page and "Removed a@example.com." in page
        assert [each.address for each in everyone(api)] == ["b@example.com"]
        assert "Restored 1 recipient." in self.undo(api, page)
        assert everyone(api) == before
        assert "Too late to undo." in self.undo(api, page)

    def test_a_program_sees_the_recipient_as_removed_until_then(self, api: Api) -> None:
        add(api, "a")
        page = after(api, "/recipients/1/remove")
        assert api("GET", "/recipients/1").status_code == api("GET", "/recipients/a@example.com").status_code == 404
        assert api.get("/recipients")["recipients"] == []
        self.undo(api, page)
        assert api.get("/recipients/1")["status"] == "active"

    def test_messages_that_stay_cancelled_are_reported(self, api: Api) -> None:
        add(api, "a")
        page = after(api, "/recipients/1/remove")
        with api.installation.database() as database:
            sql = "UPDATE removals SET content = REPLACE(content, '\"rest\": 0', '\"rest\": 2')"
            database.connection.execute(sql)
        assert "2 messages to them stay cancelled." in self.undo(api, page)

    def test_a_removal_that_no_page_made_is_refused(self, api: Api) -> None:
        assert post(api, "/recipients/undo", removal_id="x").status_code == 400
        assert "Too late to undo." in after(api, "/recipients/undo", removal_id="7")


class TestSelected:
    def ask(self, api: Api, act: str, numbers: Iterable[int], **more: str) -> TestResponse:
        fields = {"csrf_token": csrf_token(get(api, "/recipients")), "act": act, **more}
        data = {**fields, "recipient": [str(number) for number in numbers]}
        return api.client.post("/recipients/selected", data=data, headers=BROWSER)

    def confirm(self, api: Api, asked: TestResponse) -> str:
        """Press the button that confirms, and return the page that follows."""
        form = asked.text.partition('action="/recipients/selected">')[2].partition("</form>")[0]
        fields: dict[str, list[str]] = {}
        for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form):
            fields.setdefault(name, []).append(unescape(value))
        answer = api.client.post("/recipients/selected", data=fields, headers=BROWSER)
        assert answer.status_code == 303, answer.text
        return get(api, answer.location)

    def statuses(self, api: Api) -> list[str]:
        return [each.status for each in everyone(api)]

    @pytest.fixture
    def filled(self, api: Api) -> Api:
        add(api, "abcd")
        unsubscribe(api, 2)
        return api

    def test_each_row_can_be_selected_even_without_lists(self, filled: Api) -> None:
        page = get(filled, "/recipients")
        assert re.findall(r'name="recipient" value="(\d)"', page) == ["1", "2", "3", "4"]
        assert all(f'name="act" value="{act}"' in page for act in ("remove", "unsubscribe", "reactivate"))

    def test_the_number_is_named_before_they_are_removed_and_it_can_be_undone(self, filled: Api) -> None:
        asked = self.ask(filled, "remove", [1, 3], next="/recipients?status=active")
        assert "Remove 2 recipients?" in asked.text and "Yes, remove 2 recipients" in asked.text
        assert len(everyone(filled)) == 4
        page = self.confirm(filled, asked)
        assert "Removed 2 recipients." in page and 'action="/recipients/undo"' in page
        assert [each.address[0] for each in everyone(filled)] == ["b", "d"]
        assert "/recipients?status=active" in page

    def test_they_are_unsubscribed_or_reactivated_where_that_changes_something(self, filled: Api) -> None:
        asked = self.ask(filled, "unsubscribe", [1, 2, 3])
        assert "Unsubscribe 2 recipients?" in asked.text and "1 other selected recipient stays as it is" in asked.text
        assert "Unsubscribed 2 recipients." in self.confirm(filled, asked)
        assert self.statuses(filled) == ["unsubscribed", "unsubscribed", "unsubscribed", "active"]
        asked = self.ask(filled, "reactivate", [3, 4])
        assert "Reactivate 1 recipient?" in asked.text and "Yes, reactivate 1 recipient" in asked.text
        assert "Reactivated 1 recipient." in self.confirm(filled, asked)
        assert self.statuses(filled) == ["unsubscribed", "unsubscribed", "active", "active"]

    def test_many_are_named_by_their_first_ten(self, api: Api) -> None:
        add(api, [f"p{number:02}" for number in range(12)])
        asked = self.ask(api, "remove", range(1, 13)).text
        assert "<bdi>p09@example.com</bdi>" in asked and "p10@example.com" not in asked and "and 2 more" in asked

    def test_nothing_selected_or_nothing_to_do_changes_nothing(self, filled: Api) -> None:
        for numbers, said in (
            ([], "Select at least one recipient."),
            ([4], "This has already been done for all of them."),
        ):
            assert self.ask(filled, "reactivate", numbers).location == "/recipients"
            assert said in get(filled, "/recipients")
        assert self.ask(filled, "remove", [99], confirmed="yes").location == "/recipients"

    def test_a_form_that_no_page_made_is_refused(self, filled: Api) -> None:
        assert self.ask(filled, "delete", [1]).status_code == 400
        assert filled.client.post("/recipients/selected", data={"act": "remove", "recipient": "1"}).status_code == 400
        assert len(everyone(filled)) == 4
