"""/drafts: what is written in a new email is saved while it is typed, and never replaced unseen."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.support.web.compose_page import BROWSER, TYPED, Page, filled, hidden, text_of


@pytest.fixture
def page(tmp_path: Path, where: dict[str, str]) -> Iterator[Page]:
    page = Page(tmp_path, **where)
    page.api.installation.add_recipients(2)
    yield page
    page.api.close()


def typed(page: Page, **more: str) -> dict[str, object]:
    """Open an empty form and fill it in."""
    return filled(page.get("/emails/new")) | TYPED | more


def autosave(page: Page, form: dict[str, object]) -> TestResponse:
    """Save the form as the script does."""
    return page.client.post("/drafts", data=form)


def saved(page: Page, form: dict[str, object]) -> dict[str, object]:
    """Save the form as the script does, and return it as the script changes it."""
    answer = autosave(page, form)
    assert answer.status_code == 200 and answer.json is not None
    return form | {"draft_id": str(answer.json["draft_id"]), "draft_version": str(answer.json["version"])}


def drafts(page: Page) -> list[Any]:
    with page.api.installation.database() as database:
        return [database.drafts.get(each.draft_id) for each in database.drafts.page()]


def test_what_was_typed_comes_back_however_unfinished(page: Page) -> None:
    odd = {"email_subject": "A\0 <b>", "email_content": "\n{{ name \n</textarea>", "timestamp": "soon"}
    more = {"event_id": "x", "email_to": "ada@", "audience": "to", "email_reply_to": "?", "when": "later"}
    form = saved(page, typed(page, **odd, **more))
    shown = page.get("/emails/new?draft=1")
    assert {name: filled(shown)[name] for name in (odd | more)} == odd | more
    assert filled(shown)["proposed"] == form["proposed"]
    assert "Draft saved <time data-relative" in shown.text
    assert page.number_saved() == 0
    listed = page.get("/drafts")
    assert 'href="/emails/new?draft=1"><bdi>A\\x00 &lt;b&gt;</bdi></a>' in listed.text
    assert '<a href="/drafts">1 draft</a>' in page.get("/").text


def test_the_script_gets_the_version_and_the_time_on_the_service_clock(page: Page) -> None:
    form = typed(page)
    first = autosave(page, form)
    assert first.json is not None
    assert (first.json["draft_id"], first.json["version"]) == (1, 1) and len(first.json["saved_at"]) == 5
    again = autosave(page, form | {"draft_id": "1", "draft_version": "1"})
    assert again.json is not None and again.json["version"] == 2
    assert len(drafts(page)) == 1


def test_without_a_script_a_button_saves_the_draft(page: Page) -> None:
    answer = page.step("draft", typed(page, timestamp=""))
    assert (answer.status_code, answer.location) == (303, "/emails/new?draft=1")
    shown = page.get("/emails/new?draft=1")
    assert "Draft saved." in shown.text
    page.step("draft", filled(shown) | {"email_subject": "Second"})
    assert [draft.fields["email_subject"] for draft in drafts(page)] == ["Second"]


def test_of_two_tabs_the_later_save_never_replaces_the_other_text(page: Page) -> None:
    first = saved(page, typed(page))
    second = dict(first)
    first = saved(page, first | {"email_subject": "First"})
    refused = autosave(page, second | {"email_subject": "Second"})
    assert refused.status_code == 409 and refused.json is not None
    assert refused.json["error"].startswith("This draft was changed in another tab or by someone else.")
    assert [draft.fields["email_subject"] for draft in drafts(page)] == ["First"]
    asked = page.step("draft", second | {"email_subject": "Second"})
    assert asked.status_code == 409 and 'href="/emails/new?draft=1" target="_blank">Open the saved draft' in asked.text
    assert 'value="Second"' in asked.text and "data-draft" not in asked.text
    page.step("new_draft", filled(asked))
    assert [draft.fields["email_subject"] for draft in drafts(page)] == ["Second", "First"]


def test_a_deleted_draft_is_not_written_to_again(page: Page) -> None:
    form = saved(page, typed(page))
    answer = page.client.post("/drafts/1/delete", data=form, headers=BROWSER)
    assert answer.location == "/drafts" and "Deleted the draft." in page.get("/drafts").text
    assert autosave(page, form).status_code == 409
    assert page.step("draft", form).status_code == 409
    page.client.post("/drafts/1/delete", data=form, headers=BROWSER)
    assert "already deleted" in page.get("/drafts").text
    assert page.get("/emails/new?draft=1", 303).location == "/drafts"


def test_scheduling_deletes_the_draft(page: Page) -> None:
    form = saved(page, typed(page))
    looked_at = page.step("check", form)
    assert len(drafts(page)) == 1
    for _ in range(2):
        assert page.step("schedule", hidden(looked_at)).location == f"/emails/{form['proposed']}"
    assert drafts(page) == [] and page.number_saved() == 1


def test_a_draft_that_another_tab_has_changed_is_kept_when_it_is_scheduled(page: Page) -> None:
    first = saved(page, typed(page))
    looked_at = page.step("check", first)
    saved(page, first | {"email_subject": "Second"})
    shown = page.get(str(page.step("schedule", hidden(looked_at)).location))
    assert "The draft was kept, because it was changed in another tab" in text_of(shown)
    assert [draft.fields["email_subject"] for draft in drafts(page)] == ["Second"] and page.number_saved() == 1


def test_two_tabs_of_one_draft_schedule_it_once(page: Page) -> None:
    saved(page, typed(page))
    first, second = (hidden(page.step("check", filled(page.get("/emails/new?draft=1")))) for _ in range(2))
    assert page.step("schedule", first).location == page.step("schedule", second).location
    assert page.number_saved() == 1


def test_an_email_that_is_not_saved_keeps_its_draft(page: Page) -> None:
    page.api.installation.save_email(77)
    form = saved(page, typed(page, event_id="77"))
    assert page.step("schedule", form).status_code == 400
    assert len(drafts(page)) == 1


def test_the_list_goes_on_page_by_page(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("web.pages.compose.drafts.PAGE_SIZE", 2)
    for number in range(3):
        saved(page, typed(page, email_subject=str(number)))
    first = page.get("/drafts")
    assert 'href="/drafts?before=2" rel="next"' in first.text and "<bdi>2</bdi>" in first.text
    last = page.get("/drafts?before=2")
    assert "<bdi>0</bdi>" in last.text and "<bdi>2</bdi>" not in last.text
    page.get("/drafts?before=x", 400)


def test_a_form_without_its_token_saves_nothing(page: Page) -> None:
    form = typed(page)
    del form["csrf_token"]
    assert autosave(page, form).status_code == 400
    assert drafts(page) == []


def test_a_form_that_no_script_sends_is_refused(page: Page) -> None:
    for key in ({"draft_id": "x"}, {"draft_id": "1", "draft_version": "x"}):
        assert autosave(page, typed(page) | key).status_code == 400
    assert "No drafts" in text_of(page.get("/drafts"))
