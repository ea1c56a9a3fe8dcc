"""/emails/<event_id>/edit: change a scheduled email, and never lose what someone wrote."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from database import Address, Audience, Email
from tests.support.web.compose_page import Page, error_at, filled, hidden, text_of

DUE = datetime(2030, 1, 2, 0, 0, 5, tzinfo=UTC)
TO = (Address("ada@example.com", "ada@example.com"), Address("Bob@example.com", "bob@example.com"))
EMAILS = {
    "plain": Email(1, "Gala", "Hello\n", DUE),
    "full": Email(1, 'A "title" <b>', "\n{{ name }}\n</textarea>", DUE, reply_to="Ada <ada@example.com>"),
    "options": Email(1, "S", "C", DUE, from_name="The <choir>", recipients_max=30),
    "to": Email(1, "S", "C", DUE, audience=Audience(to=TO)),
    "lists": Email(1, "S", "C", DUE, audience=Audience(("Gala & Co", "News"), ("Staff",))),
    "everyone_but": Email(1, "S", "C", DUE, audience=Audience((), ("Staff",))),
    "personal": Email(1, "For {{ name }}", "C", DUE, personal=True),
}


@pytest.fixture
def page(tmp_path: Path, where: dict[str, str]) -> Iterator[Page]:
    page = Page(tmp_path, **where)
    with page.api.installation.database() as database, database.connection.transaction():
        for name in ("Gala & Co", "News", "Staff"):
            database.lists.add(name, DUE)
        database.connection.execute("INSERT INTO field_names (name) VALUES ('name')")
    page.api.installation.add_recipients(3)
    page.path = "/emails/1/edit"
    yield page
    page.api.close()


def save(page: Page, email: Email = EMAILS["plain"]) -> None:
    with page.api.installation.database() as database:
        database.emails.save(email, datetime.now(UTC))


def opened(page: Page) -> dict[str, object]:
    """Open the form, and return it as it is filled in."""
    return filled(page.get("/emails/1/edit"))


def notice(answer: TestResponse) -> str:
    assert answer.status_code == 409
    return text_of(answer)


@pytest.mark.parametrize("name", EMAILS)
def test_everything_is_filled_in_and_saved_as_it_was(page: Page, name: str) -> None:
    save(page, EMAILS[name])
    before = page.email(1)
    looked_at = page.step("check", opened(page))
    assert looked_at.status_code == 200 and "Save changes" in text_of(looked_at)
    answer = page.step("schedule", hidden(looked_at))
    assert (answer.status_code, answer.location) == (303, "/emails/1")
    assert page.email(1) == before
    assert "Nothing changed." in page.get("/emails/1").text


def test_a_typo_is_corrected(page: Page) -> None:
    save(page)
    assert re.search('href="/emails/1/edit"><svg.*</svg>Edit</a>', page.get("/emails/1").text)
    form = opened(page) | {"email_subject": "The gala", "audience": "lists", "email_list": "News"}
    looked_at = page.step("check", form)
    assert page.email(1).subject == "Gala" and "Not saved yet" in text_of(looked_at)
    answer = page.step("schedule", hidden(looked_at))
    saved = page.email(1)
    assert (saved.subject, saved.due_at, saved.audience.lists) == ("The gala", DUE, ("News",))
    assert "Saved. It will be sent Wed 2 Jan 2030 08:00:05 +08:00." in text_of(page.get(str(answer.location)))
    assert page.number_saved() == 1


def test_the_second_time_of_an_hour_that_comes_twice_is_kept(tmp_path: Path) -> None:
    page = Page(tmp_path, TIMEZONE="Europe/Berlin")
    second = datetime(2027, 10, 31, 1, 30, tzinfo=UTC)
    save(page, EMAILS["plain"]._replace(due_at=second))
    page.path = "/emails/1/edit"
    page.step("schedule", hidden(page.step("check", opened(page) | {"email_subject": "New"})))
    assert (page.email(1).subject, page.email(1).due_at) == ("New", second)
    page.api.close()


def test_an_invalid_field_is_reported_and_nothing_is_changed(page: Page) -> None:
    save(page)
    answer = page.step("check", opened(page) | {"email_subject": ""})
    assert "is empty" in error_at(answer, "email_subject")
    assert "Nothing has been changed." in text_of(answer)
    assert page.email(1).subject == "Gala"


@pytest.mark.parametrize("step", ["check", "schedule"])
def test_a_change_by_someone_else_is_never_overwritten_without_a_word(page: Page, step: str) -> None:
    save(page)
    form = opened(page) | {"email_subject": "Mine"}
    body = {"subject": "Theirs", "content": "Hello\n", "due_at": DUE.isoformat()}
    assert page.api("PUT", "/emails/1", body).status_code == 200
    answer = page.step(step, form)
    assert "Someone else has changed this email" in notice(answer)
    assert page.email(1).subject == "Theirs" and 'value="Mine"' in answer.text
    again = page.step("check", filled(answer))  # the person has seen the notice
    page.step("schedule", hidden(again))
    assert page.email(1).subject == "Mine"


def test_what_was_written_is_kept_if_the_email_is_sent_meanwhile(page: Page) -> None:
    save(page)
    looked_at = page.step("check", opened(page) | {"email_subject": "Mine"})
    with page.api.installation.database() as database:
        database.emails.reschedule(1, datetime.now(UTC), datetime.now(UTC))
    page.api.sweep()
    answer = page.step("schedule", hidden(looked_at))
    assert "Your changes were not saved, because this email is already in the outbox." in notice(answer)
    assert page.email(1).subject == "Gala"
    page.path = "/emails/new"
    new = page.step("change", filled(answer))
    assert new.status_code == 200 and 'value="Mine"' in new.text
    assert page.step("check", filled(new)).status_code == 200


def test_an_email_that_can_no_longer_be_changed_has_no_form(page: Page) -> None:
    save(page)
    page.api.post("/emails/1/cancel")
    answer = page.get("/emails/1/edit", 303)
    assert answer.location == "/emails/1"
    shown = page.get("/emails/1")
    assert "can’t be edited any more: it is cancelled" in shown.text and "/edit" not in shown.text
    page.get("/emails/2/edit", 404)


def test_a_held_email_is_scheduled_again_once_it_is_saved(page: Page) -> None:
    save(page, EMAILS["plain"]._replace(due_at=datetime.now(UTC) - timedelta(days=1)))
    with page.api.installation.database() as database:
        database.connection.execute("UPDATE emails SET status = 'held', held_because = 'x'")
    page.step("schedule", hidden(page.step("check", opened(page) | {"timestamp": "2030-01-02T08:00"})))
    saved = page.email(1)
    assert (saved.status, saved.held_because, saved.due_at) == ("scheduled", None, DUE.replace(second=0))


def test_an_edited_email_that_goes_now_asks_first(page: Page) -> None:
    save(page)
    looked_at = page.step("check", opened(page) | {"when": "now"})
    assert "Send now to 3 recipients" in text_of(looked_at)
    answers = [page.step("schedule", hidden(looked_at)) for _ in range(2)]
    assert [answer.location for answer in answers] == ["/emails/1?undo=now", "/emails/1"]
    assert 8 < (page.email(1).due_at - datetime.now(UTC)).total_seconds() <= 11


def test_an_archived_list_stays_selected_and_is_reported(page: Page) -> None:
    save(page, EMAILS["lists"])
    with page.api.installation.database() as database:
        database.lists.archive("Staff", DUE)
    form = opened(page)
    assert form["email_exclude_list"] == ["Staff"]
    answer = page.step("check", form)
    assert answer.status_code == 400 and "archived" in unescape(answer.text)
    assert page.email(1).audience.exclude_lists == ("Staff",)


class TestDuplicate:
    @pytest.mark.parametrize("name", EMAILS)
    def test_everything_but_the_time_is_filled_in(self, page: Page, name: str) -> None:
        save(page, EMAILS[name])
        assert re.search(r'href="/emails/new\?copy=1"><svg.*</svg>Duplicate</a>', page.get("/emails/1").text)
        copied = filled(page.get("/emails/new?copy=1"))
        same = opened(page)
        different = {
            "timestamp",
            "version",
            "proposed",
            "offset",
            "event_id",
            "csrf_token",
            "draft_id",
            "draft_version",
        }
        assert {key: copied[key] for key in copied.keys() - different} == {
            key: same[key] for key in same.keys() - different
        }
        assert (copied["timestamp"], copied["event_id"]) == ("", "")
        page.path = "/emails/new"
        form = hidden(page.step("check", copied | {"timestamp": "2030-03-04T05:06"}))
        page.step("schedule", form)
        new, old = page.email(int(form["proposed"])), page.email(1)
        assert new._replace(due_at=old.due_at).version == old.version

    def test_a_sent_email_can_be_duplicated_until_its_content_is_deleted(self, page: Page) -> None:
        save(page, EMAILS["plain"]._replace(due_at=datetime.now(UTC)))
        page.api.sweep()
        assert filled(page.get("/emails/new?copy=1"))["email_subject"] == "Gala"
        with page.api.installation.database() as database:
            database.prune(datetime.now(UTC) + timedelta(seconds=9))
        assert "Duplicate" not in page.get("/emails/1").text
        page.get("/emails/new?copy=1", 410)

    def test_what_is_not_there_cannot_be_duplicated(self, page: Page) -> None:
        page.get("/emails/new?copy=2", 404)
        page.get("/emails/new?copy=x", 400)
