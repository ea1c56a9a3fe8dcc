"""/templates: a text is saved under a name, and used for new emails."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from tests.support.web.compose_page import BROWSER, TYPED, Page, error_at, filled, hidden, text_of


@pytest.fixture
def page(tmp_path: Path, where: dict[str, str]) -> Iterator[Page]:
    page = Page(tmp_path, **where)
    page.api.installation.add_recipients(2)
    yield page
    page.api.close()


def save(page: Page, name: str, **typed: str) -> TestResponse:
    """Write an email and save it as a template."""
    form = filled(page.get("/emails/new")) | TYPED | typed
    return page.step("template", form, template_name=name)


def post(page: Page, path: str, **fields: str) -> TestResponse:
    token = hidden(page.get("/emails/new"))["csrf_token"]
    return page.client.post(path, data={"csrf_token": token, **fields}, headers=BROWSER)


def names(page: Page) -> list[str]:
    with page.api.installation.database() as database:
        return [each.name for each in database.templates.page()]


def test_everything_but_the_time_is_used_for_a_new_email(page: Page) -> None:
    kept = {"email_from_name": "The choir", "audience": "to", "email_to": "ada@", "email_recipients_max": "3"}
    answer = save(page, " Newsletter ", **kept, event_id="7", when="now")
    assert "Saved as the template Newsletter. The email is not scheduled yet." in text_of(answer)
    assert filled(answer)["event_id"] == "7" and filled(answer)["template_name"] == ""
    assert 'href="/emails/new?template=1" aria-label="Use Newsletter ' in page.get("/templates").text
    new = filled(page.get("/emails/new?template=1"))
    assert {name: new[name] for name in kept} == kept and new["email_subject"] == TYPED["email_subject"]
    assert (new["event_id"], new["timestamp"], new["when"]) == ("", "", "later")
    assert page.number_saved() == 0


def test_lists_are_kept(page: Page) -> None:
    assert post(page, "/lists", name="Gala").status_code == 303
    save(page, "x", audience="lists", email_list="Gala")
    assert filled(page.get("/emails/new?template=1"))["email_list"] == ["Gala"]


def test_a_name_is_used_once(page: Page) -> None:
    save(page, "Newsletter")
    again = save(page, "NEWSLETTER")
    assert "is used by another template" in error_at(again, "template_name")
    assert 'value="NEWSLETTER"' in again.text and names(page) == ["Newsletter"]
    save(page, "Other")
    refused = post(page, "/templates/2/rename", name="newsletter")
    assert refused.status_code == 400 and "already exists" in text_of(refused) and 'value="newsletter"' in refused.text
    assert names(page) == ["Newsletter", "Other"]


@pytest.mark.parametrize("name", ["", "  ", "x" * 101, "a\0b", "a\nb"])
def test_an_invalid_name_is_refused(page: Page, name: str) -> None:
    assert "The name of the template " in error_at(save(page, name), "template_name")
    save(page, "Good")
    assert post(page, "/templates/1/rename", name=name).status_code == 400
    assert names(page) == ["Good"]


def test_a_template_is_renamed_and_deleted(page: Page) -> None:
    save(page, "Old")
    assert post(page, "/templates/1/rename", name="old").location == "/templates"
    post(page, "/templates/1/rename", name="New")
    assert "Renamed to New." in page.get("/templates").text and names(page) == ["New"]
    post(page, "/templates/1/delete")
    assert "Deleted the template." in page.get("/templates").text and names(page) == []
    for path in ("/templates/1/delete", "/templates/1/rename"):
        post(page, path, name="x")
        assert "This template was deleted." in page.get("/templates").text
    assert page.get("/emails/new?template=1", 303).location == "/templates"


def test_names_are_text_and_the_list_goes_on_page_by_page(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.pages.compose.templates.PAGE_SIZE", 2)
    for name in ("<b>c</b>", "B & b", "a"):
        save(page, name)
    last = page.get("/templates?after=B+%26+b").text
    assert "<b>c" not in last and "<bdi>a</bdi>" not in last
    assert page.get("/templates").text.count('<th scope="row">') == 2


def test_an_email_being_edited_can_become_a_template(page: Page) -> None:
    page.api.installation.save_email(1, due_in=3_600, subject="Gala")
    page.path = "/emails/1/edit"
    answer = page.step("template", filled(page.get("/emails/1/edit")), template_name="Gala")
    assert answer.status_code == 200 and "Saved as the template Gala." in text_of(answer)
    assert page.step("check", filled(answer)).status_code == 200
