"""What stands beside the form of an email: the preview, how many people it reaches, and what its time means."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from database import Address, Email
from tests.support.web.compose_page import BROWSER, TYPED, Page, error_at, filled, hidden, text_of
from web.pages.compose.zones import COMMON


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    page = Page(tmp_path)
    page.api.installation.add_recipients(3)
    now, values = datetime.now(UTC), json.dumps({"name": "Ada"})
    with page.api.installation.database() as database:
        database.lists.add("Gala", now)
        database.lists.add_members("Gala", [Address("r0@example.com", "r0@example.com")], now, "page")
    with page.api.installation.database() as database, database.connection.transaction():
        sql = "UPDATE recipients SET fields = :fields WHERE address = 'r0@example.com'"
        database.connection.execute(sql, fields=values)
        database.connection.execute("INSERT INTO field_names (name) VALUES ('name')")
    yield page
    page.api.close()


def live(page: Page, **typed: str) -> TestResponse:
    """Ask for what stands beside the form, as the script does."""
    answer = page.step("live", page.open() | {"email_subject": "Gala", "email_content": "Hello"} | typed)
    assert answer.status_code == 200
    return answer


def part(answer: TestResponse, name: str) -> str:
    """Return the text of one part."""
    return re.sub(r"\s+", " ", re.sub("<[^>]*>", "", answer.text.partition(f'id="{name}">')[2].partition("</p>")[0]))


class TestReach:
    @pytest.mark.parametrize(
        ("chosen", "words"),
        [
            ({"audience": "everyone"}, "3 recipients would get this email now."),
            ({"audience": "everyone", "email_exclude_list": "Gala"}, "2 recipients would get this email now."),
            ({"audience": "lists", "email_list": "Gala"}, "1 recipient would get this email now."),
            ({"audience": "to", "email_to": "a@example.com, b@example.com"}, "2 recipients would get this email now."),
            ({"audience": "lists"}, "Select at least one list."),
            ({}, "Choose who gets this email."),
            ({"audience": "to", "email_to": "ada@"}, "The addresses are not valid: line 1"),
            ({"audience": "lists", "email_list": "Choir"}, "The choice of lists is not valid"),
        ],
    )
    def test_it_is_counted_or_the_reason_is_given(self, page: Page, chosen: dict[str, str], words: str) -> None:
        assert part(live(page, **chosen), "live-reach").startswith(words)

    def test_the_form_shows_it_without_a_script(self, page: Page) -> None:
        answer = page.step("change", page.open() | TYPED | {"audience": "lists", "email_list": "Gala"})
        assert "1 recipient would get this email now." in part(answer, "live-reach")


class TestMail:
    def test_text_is_shown_with_its_sender_and_escaped(self, page: Page) -> None:
        answer = live(page, email_subject="A <b>", email_content="Hello <i>", email_from_name="The choir")
        assert "<bdi>A &lt;b&gt;</bdi>" in answer.text and "\nHello &lt;i&gt;" in answer.text
        assert "The choir &lt;" in answer.text and "<iframe" not in answer.text

    def test_html_is_in_a_sandbox(self, page: Page) -> None:
        answer = live(page, email_content="<html><p>Hello</p></html>")
        assert re.search(r"<iframe [^>]* sandbox></iframe>", answer.text) and "&lt;p&gt;Hello&lt;/p&gt;" in answer.text
        assert "<p>Hello</p>" not in answer.text

    def test_values_are_filled_in_and_missing_ones_are_counted(self, page: Page) -> None:
        answer = text_of(live(page, audience="everyone", email_content="Dear {{ name }}"))
        assert "Dear Ada" in answer and "to r0@example.com" in answer
        assert "2 recipients will not get this email" in answer

    @pytest.mark.parametrize(
        ("fields", "words"),
        [
            ({"email_content": "Dear {{ nmae }}"}, "The content has an unknown placeholder, {{ nmae }}, on line 1"),
            ({"email_content": "Dear {{ name"}, "The content has an error on line 1, column 6"),
            ({"email_content": "<p>Hello</p>"}, "Recipients will see the HTML tags"),
            ({"email_content": "Dear *|FNAME|*"}, "Recipients will see *|FNAME|* exactly as written."),
            ({"email_content": "a\0"}, "The content contains a NUL"),
            ({"email_subject": "a\u2028b"}, "The subject contains a line break"),
            ({"email_content": ""}, "Write the message to see it as a recipient does."),
        ],
    )
    def test_an_unfinished_email_is_no_error(self, page: Page, fields: dict[str, str], words: str) -> None:
        assert words in text_of(live(page, **fields))

    def test_it_needs_the_token_of_the_form_and_saves_nothing(self, page: Page) -> None:
        assert page.client.post("/emails/new", data=TYPED | {"step": "live"}, headers=BROWSER).status_code == 400
        live(page)
        assert page.number_saved() == 0

    def test_a_saved_email_has_one_too(self, page: Page) -> None:
        page.api.installation.save_email(1, 3_600)
        page.path = "/emails/1/edit"
        assert "Goodbye" in live(page, email_content="Goodbye").text


class TestTime:
    def test_it_is_said_how_far_away_it_is(self, page: Page) -> None:
        assert "in Singapore (UTC+8) now." in part(live(page, timestamp=""), "timestamp-hint")
        assert "so that’s in " in part(live(page, timestamp="2090-01-02T08:00"), "timestamp-hint")
        assert "has passed, so the email" in part(live(page, timestamp="2020-01-02T08:00"), "timestamp-hint")
        assert "Choose both a date and a time." in part(live(page, date="2090-01-02", time=""), "timestamp-hint")

    def test_it_is_said_in_the_zone_of_the_service_too(self, page: Page) -> None:
        words = part(live(page, timestamp="2090-01-02T08:00", zone="Asia/Tokyo"), "timestamp-hint")
        assert "in Tokyo (UTC+9) now" in words and "Mon 2 Jan 2090, 07:00 in Singapore (UTC+8)." in words

    def test_the_day_and_the_time_of_day_are_two_fields(self, page: Page) -> None:
        form = page.open() | TYPED | {"audience": "everyone", "timestamp": "", "date": "2030-01-02", "time": "08:00"}
        looked_at = page.step("check", form)
        assert "Will be sent Wed 2 Jan 2030 08:00 +08:00" in text_of(looked_at)
        assert "Schedule for Wed 2 Jan 2030, 08:00" in text_of(looked_at)
        for date, time in (("", "08:00"), ("2030-01-02", "")):
            answer = page.step("check", form | {"date": date, "time": time})
            assert error_at(answer, "timestamp") == "Choose both a date and a time."


class TestZone:
    def test_the_own_zone_is_chosen_and_stands_first(self, tmp_path: Path) -> None:
        page = Page(tmp_path, TIMEZONE="Asia/Kathmandu")
        options = re.findall(r'<option value="([^"]*)"( selected)?>([^<]*)<', page.get("/emails/new").text)
        assert options[0] == ("Asia/Kathmandu", " selected", "Kathmandu (UTC+5:45)")
        assert sorted(key for key, _, _ in options[1:]) == sorted(COMMON)
        page.api.close()

    def test_a_time_in_another_zone_is_kept_with_it(self, page: Page) -> None:
        typed = {"audience": "everyone", "timestamp": "2030-07-02T08:00", "zone": "Europe/London"}
        looked_at = page.write(**typed)
        assert "Will be sent Tue 2 Jul 2030 15:00 +08:00" in text_of(looked_at)
        assert "That’s Tue 2 Jul 2030, 08:00 in London" in text_of(looked_at)
        again = filled(page.step("change", hidden(looked_at)))
        assert {name: again[name] for name in typed} == typed
        form = hidden(looked_at)
        page.step("schedule", form)
        assert page.saved(int(form["proposed"]))[2] == datetime(2030, 7, 2, 7, tzinfo=UTC)

    def test_a_draft_keeps_it(self, page: Page) -> None:
        page.step("draft", page.open() | TYPED | {"zone": "Europe/London"})
        assert filled(page.get("/emails/new?draft=1"))["zone"] == "Europe/London"

    def test_a_time_that_does_not_exist_there_is_refused(self, page: Page) -> None:
        answer = page.write(audience="everyone", timestamp="2027-03-28T02:30", zone="Europe/Berlin")
        assert "clocks skip it" in error_at(answer, "timestamp")

    def test_of_a_time_that_comes_twice_there_the_person_is_asked(self, page: Page) -> None:
        typed = {"audience": "everyone", "timestamp": "2027-10-31T02:30", "zone": "Europe/Berlin"}
        asked = page.write(**typed)
        assert "occurs twice" in error_at(asked, "timestamp")
        assert "Sun 31 Oct 2027 02:30 +01:00, the second" in text_of(asked)
        form = hidden(page.write(**typed, offset="+01:00"))
        page.step("schedule", form)
        assert page.saved(int(form["proposed"]))[2] == datetime(2027, 10, 31, 1, 30, tzinfo=UTC)

    @pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "Asia/Kathmandu", "a\0"])
    def test_one_that_is_not_offered_is_refused(self, page: Page, zone: str) -> None:
        answer = page.write(audience="everyone", zone=zone)
        assert error_at(answer, "zone") == "The time zone is not one of those offered."
        assert "Singapore (UTC+8) now" in part(live(page, zone=zone), "timestamp-hint")

    def test_without_zone_data_the_reason_is_given(self, page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("web.pages.compose.zones.COMMON", ("Europe/Nowhere",))
        answer = page.write(audience="everyone", zone="Europe/Nowhere")
        assert "this server has no data about it (pip install tzdata)" in error_at(answer, "zone")
        assert "Europe/Nowhere" not in page.get("/emails/new").text


@pytest.mark.parametrize(("second", "shown"), [(0, "08:00"), (7, '08:00:07" step="1')])
def test_a_saved_time_has_seconds_only_if_it_needs_them(page: Page, second: int, shown: str) -> None:
    due_at = datetime(2030, 1, 2, 0, 0, second, tzinfo=UTC)
    with page.api.installation.database() as database:
        database.emails.save(Email(1, "Gala", "Hello", due_at), datetime.now(UTC))
    assert f'name="time" value="{shown}"' in page.get("/emails/1/edit").text
