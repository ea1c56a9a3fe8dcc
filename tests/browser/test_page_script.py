"""The scripts in a real browser: live updates, times in the reader's zone, the search key, and writing an email."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, Dialog, Page, expect

from database import Address
from tests.support.in_process import sweep_once
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.servers.smtp_server import Call, ScriptedServer
from tests.support.servers.web_server import Server, serve
from tests.support.web.browser import Elsewhere, Tab

SLOW = 30_000  # milliseconds


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    made = Installation(tmp_path)
    made.add_recipients(3)
    made.save_email(7, subject="Tonight")
    return made


@pytest.fixture
def server(installation: Installation) -> Iterator[Server]:
    environment = installation.environment | {"EMAIL_URL": "smtp://127.0.0.1:9"}
    with serve(installation.folder, unused_port(), **environment) as running:
        yield running


@pytest.fixture
def tab(chromium: Browser, elsewhere: Elsewhere, server: Server) -> Iterator[Tab]:
    """Return a tab in a browser whose time zone is Chicago's."""
    tab = Tab(chromium, f"http://127.0.0.1:{server.port}", elsewhere, timezone_id="America/Chicago")
    yield tab
    tab.close()


@pytest.fixture
def page(tab: Tab) -> Page:
    return tab.page


def requests_of(page: Page) -> list[str]:
    """Return a list that collects the page's requests while it is open."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if request.resource_type == "fetch" else None)
    return asked


def test_a_page_keeps_up_with_what_is_sent_and_then_stops(installation: Installation, page: Page) -> None:
    go_on = threading.Event()
    wait_for_the_last = {"RCPT": lambda _, nth: (Call(lambda: go_on.wait(60)), "250 Ok") if nth == 2 else None}
    with ScriptedServer(on=wait_for_the_last) as mail_server:
        url = f"smtp://127.0.0.1:{mail_server.port}"
        at_server = Installation(installation.folder, **installation.environment | {"EMAIL_URL": url})
        sweep = threading.Thread(target=sweep_once, args=(at_server,))
        sweep.start()
        page.goto("/emails/7")
        expect(page.locator(".stat", has_text="Delivered")).to_contain_text("2", timeout=SLOW)
        expect(page.locator(".badge").first).to_have_text("Sending")
        go_on.set()
        expect(page.locator(".badge").first).to_have_text("Sent", timeout=SLOW)
        sweep.join()
    expect(page).to_have_title("Sent: Tonight – Email endpoint")
    expect(page.locator("#said")).to_have_text("Sent: Tonight – Email endpoint")
    asked = requests_of(page)
    page.wait_for_timeout(3_000)
    assert asked == []


def test_what_has_not_changed_is_not_sent_again(page: Page) -> None:
    page.goto("/emails/7")  # overdue
    answers: list[int] = []
    page.on("response", lambda answer: answers.append(answer.status) if answer.url == page.url else None)
    page.wait_for_timeout(7_000)
    assert answers[0] == 200 and set(answers[1:]) == {304}


def test_distances_in_time_keep_moving_while_nothing_else_does(installation: Installation, page: Page) -> None:
    """The reader's clock may be wrong by an hour."""
    installation.save_email(8, due_in=3_715, subject="Later")
    page.clock.install(time=datetime.now(UTC) - timedelta(hours=1))
    page.goto("/emails/8")
    shown = page.locator("dd time[data-relative]").first
    expect(shown).to_have_text("in 1 h 1 min")
    page.clock.run_for(101_000)
    expect(shown).to_have_text(re.compile(r"in (59 min|1 h)"))
    page.clock.run_for(3_599_000)
    expect(shown).to_have_text(re.compile(r"now|in \d+ s|\d+ s ago"))
    page.clock.run_for(60_000)
    expect(shown).to_have_text(re.compile(r"(\d+ s|1 min) ago"))


def test_tables_of_people_are_not_cut_on_a_laptop_or_a_phone(installation: Installation, page: Page) -> None:
    with installation.database() as database:
        name = f"{'a-rather-long-name.' * 3}of-a-guest@{'a-rather-long-domain.' * 2}example.com"
        database.recipients.add([Address(name, name)], datetime.now(UTC))
    sweep_once(installation)
    for width in (1024, 390):
        page.set_viewport_size({"width": width, "height": 800})
        for path in ("/recipients", "/recipients/4", "/emails/7"):
            page.goto(path)
            cut = "elements => elements.map(each => each.scrollWidth - each.clientWidth).filter(pixels => pixels > 1)"
            assert page.locator("html, .card, .wide").evaluate_all(cut) == [], (width, path)


def test_selected_rows_are_counted_and_all_can_be_selected(installation: Installation, page: Page) -> None:
    with installation.database() as database:
        database.lists.add("Gala", datetime.now(UTC))
    page.goto("/recipients")
    add = page.get_by_role("button", name="Add to list")
    expect(add).to_be_hidden()
    page.get_by_role("checkbox", name="Select r1@example.com").check()
    expect(add).to_be_visible()
    page.get_by_role("checkbox", name="Select all on this page").check()
    add.click()
    expect(page.get_by_text("Added 3 recipients to the list.")).to_be_visible()
    expect(add).to_be_hidden()


def test_a_preview_says_when_its_time_has_passed_meanwhile(page: Page) -> None:
    page.clock.install()
    page.goto("/emails/new")
    page.get_by_label("Subject").fill("Soon")
    page.get_by_label("Message").fill("Hello")
    due = datetime.now(ZoneInfo("Asia/Singapore")) + timedelta(minutes=2)
    page.get_by_label("Date").fill(f"{due:%Y-%m-%d}")
    page.get_by_label("Time", exact=True).fill(f"{due:%H:%M}")
    page.get_by_role("button", name="Review").click()
    warning = page.get_by_text("has now passed")
    expect(page.get_by_role("button", name="Schedule")).to_be_visible()
    expect(warning).to_be_hidden()
    page.clock.run_for(130_000)
    expect(warning).to_be_visible()


def test_a_new_email_is_saved_as_a_draft_while_it_is_written(page: Page) -> None:
    page.goto("/emails/new")
    page.get_by_label("Subject").fill("Gala")
    status = page.locator("#draft-status")
    expect(status).to_have_text("Not saved yet")
    expect(status).to_have_text(re.compile(r"Draft saved \d\d:\d\d"), timeout=SLOW)
    expect(page).to_have_url(re.compile(r"/emails/new\?draft=1$"))
    page.get_by_label("Message").fill("Hello")
    page.get_by_role("button", name="Review").click()  # saves the rest first
    expect(page.get_by_role("alert")).to_contain_text("Fix 1 field")  # the time is missing
    page.goto("/emails/new?draft=1")
    expect(page.get_by_label("Message")).to_have_value("Hello")
    expect(status).to_contain_text("Draft saved")


def test_a_draft_that_another_tab_has_changed_is_not_overwritten(page: Page) -> None:
    page.goto("/emails/new")
    page.get_by_label("Subject").fill("First")
    status = page.locator("#draft-status")
    expect(status).to_contain_text("Draft saved", timeout=SLOW)
    other = page.context.new_page()
    other.goto(page.url)
    other.get_by_label("Subject").fill("Second")
    expect(other.locator("#draft-status")).to_have_text(re.compile("Draft saved [0-9:]+"), timeout=SLOW)
    page.get_by_label("Subject").fill("Third")
    expect(status).to_contain_text("changed in another tab", timeout=SLOW)
    page.get_by_role("button", name="Save draft").click()
    expect(page.get_by_label("Subject")).to_have_value("Third")
    page.get_by_role("button", name="Save as a new draft").click()
    page.goto("/drafts")
    assert page.locator("th[scope=row]").all_text_contents() == ["Third", "Second"]


def test_the_preview_follows_what_is_written_and_leaves_the_history_alone(page: Page) -> None:
    page.goto("/recipients")
    page.goto("/emails/new")
    page.get_by_label("Everyone").check()
    page.get_by_label("Subject").fill("Gala")
    preview = page.get_by_role("article", name="The email as a recipient sees it")
    for word in ("Hello", "Goodbye"):
        page.get_by_label("Message").fill(f"<html><p>{word}</p></html>")
        expect(preview.frame_locator("iframe").get_by_text(word)).to_be_visible(timeout=SLOW)
    expect(preview.get_by_role("heading", name="Gala")).to_be_visible()
    expect(page.locator("#live-reach")).to_contain_text("3 recipients would get this email now")
    page.get_by_label("Text", exact=True).check()
    expect(preview.get_by_role("region", name="The content as text")).to_contain_text("Goodbye")
    expect(page.locator("#draft-status")).to_contain_text("Draft saved", timeout=SLOW)
    page.go_back()
    expect(page).to_have_url(re.compile("/recipients$"))


def test_a_suggested_time_is_in_the_chosen_zone(page: Page) -> None:
    page.goto("/emails/new")
    date, time = page.get_by_label("Date"), page.get_by_label("Time", exact=True)
    for zone in ("Asia/Singapore", "America/New_York"):
        page.get_by_label("Time zone").select_option(zone)
        page.get_by_role("button", name="Tomorrow 09:00").click()
        tomorrow = datetime.now(ZoneInfo(zone)) + timedelta(days=1)
        assert (date.input_value(), time.input_value()) == (f"{tomorrow:%Y-%m-%d}", "09:00")
        page.get_by_role("button", name="In 10 minutes").click()
        assert abs(_typed(date.input_value(), time.input_value(), zone) - datetime.now(UTC)) < timedelta(minutes=12)


def _typed(date: str, time: str, zone: str) -> datetime:
    return datetime.fromisoformat(f"{date}T{time}").replace(tzinfo=ZoneInfo(zone))


def test_lists_that_were_ticked_before_another_choice_do_not_count(installation: Installation, page: Page) -> None:
    with installation.database() as database:
        database.lists.add("Gala", datetime.now(UTC))
    page.goto("/emails/new")
    page.get_by_role("radio", name="Lists").check()
    page.get_by_role("checkbox", name="Gala").first.check()
    page.get_by_label("Everyone").check()
    page.get_by_label("Subject").fill("Hello")
    page.get_by_label("Message").fill("Hello")
    page.get_by_role("button", name="Tomorrow 09:00").click()
    page.get_by_role("button", name="Review").click()
    expect(page.get_by_role("button", name="Schedule for")).to_be_visible()


def test_leaving_an_edited_email_asks_first(installation: Installation, page: Page) -> None:
    installation.save_email(8, 3_600)
    page.goto("/emails/8/edit")
    page.get_by_label("Subject").press_sequentially("x")
    asked: list[str] = []

    def leave(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", leave)
    page.goto("/recipients")
    assert asked == ["beforeunload"]


def test_what_is_sent_now_can_be_undone_until_it_leaves(page: Page) -> None:
    page.goto("/emails/new")
    page.get_by_label("Subject").fill("Now")
    page.get_by_label("Message").fill("Hello")
    page.get_by_label("Now", exact=True).check()
    page.get_by_label("Everyone").check()
    page.get_by_role("button", name="Review").click()
    page.get_by_role("button", name="Send now to 3 recipients").click()
    toast = page.locator(".toast.floating")
    expect(toast).to_contain_text(re.compile(r"It will be sent in \d+ s\."))
    toast.get_by_role("button", name="Undo").click()
    expect(page.get_by_text("Undone. It was not sent to anyone.")).to_be_visible()
    expect(page.get_by_label("Message")).to_have_value("Hello")


def test_nothing_moves_under_a_hand(installation: Installation, page: Page) -> None:
    page.goto("/emails/7")
    page.get_by_role("link", name="Reschedule").click()
    expect(page.get_by_label("New date and time")).to_be_focused()
    sweep_once(installation)
    page.wait_for_timeout(5_000)
    expect(page.locator(".badge").first).to_have_text("Scheduled")
    page.get_by_role("link", name="Keep the current time").click()
    expect(page.get_by_role("link", name="Reschedule")).to_be_focused()
    expect(page.locator(".badge").first).to_have_text("Sent", timeout=SLOW)


@pytest.mark.parametrize("scripts", [True, False])
def test_a_dialog_has_an_address(installation: Installation, page: Page, scripts: bool, tab: Tab) -> None:
    """Links on the schedule lead to it."""
    installation.save_email(8, due_in=3_600, subject="Later")
    tab.allow_scripts(scripts)
    page.goto("/emails/8")
    for name in ("Reschedule", "Cancel"):
        page.goto(f"/emails/8#{name.lower()}")
        dialog = page.get_by_role("dialog", name=name)
        expect(dialog).to_be_visible()
        dialog.get_by_role("link", name="Keep").click()
        expect(dialog).to_be_hidden()
        page.get_by_role("link", name=name, exact=True).click()
        expect(dialog).to_be_visible()
        dialog.get_by_role("link", name="Keep").click()
        expect(dialog).to_be_hidden()
    page.get_by_role("link", name="Cancel", exact=True).click()
    page.get_by_role("button", name="Yes, cancel this email").click()
    expect(page.get_by_text("Cancelled. It was not sent to anyone.")).to_be_visible()


def test_the_width_of_the_preview_changes_without_ending_the_updates(installation: Installation, page: Page) -> None:
    installation.save_email(8, due_in=3_600, content="<!DOCTYPE html><html><p>Hello</p></html>")
    page.goto("/emails/8")
    frame = page.locator("iframe")
    assert frame.evaluate("frame => frame.offsetWidth") == 600
    page.get_by_text("375 px").click()
    assert frame.evaluate("frame => frame.offsetWidth") == 375
    page.evaluate("document.getElementById('main').dataset.refresh = 2")
    with page.expect_response("**/emails/8"):
        page.get_by_label("375 px").dispatch_event("visibilitychange")


def test_a_page_that_gets_no_answer_says_so_and_asks_again(server: Server, page: Page) -> None:
    page.goto("/emails/7")
    page.route("**/emails/7", lambda route: route.abort())
    expect(page.locator("#said")).to_contain_text("out of date", timeout=SLOW)
    page.unroute("**/emails/7")
    expect(page.locator("#said")).to_be_empty(timeout=SLOW)


def test_times_are_shown_in_the_readers_zone_on_wish(page: Page) -> None:
    page.goto("/emails/7")
    due = page.locator("dd time:not([data-short], [data-relative])").first
    of_service = due.text_content() or ""
    assert of_service.endswith("+08:00")
    page.get_by_role("button", name="Show times in Chicago").click()
    expect(due).to_have_text(in_chicago(due.get_attribute("datetime") or ""))
    page.reload()
    expect(page.get_by_text("Times are in Chicago (UTC-")).to_be_visible()
    page.get_by_role("button", name="Show times in Singapore (UTC+8)").click()
    expect(due).to_have_text(of_service)


def in_chicago(moment: str) -> str:
    """Return the same instant in Chicago's time, computed by Python."""
    local = datetime.fromisoformat(moment).astimezone(ZoneInfo("America/Chicago"))
    clock = "%H:%M:%S" if local.second else "%H:%M"
    return f"{local:%a} {local.day} {local:%b %Y} {local:{clock}} {local.isoformat()[19:]}"


def test_the_key_searches_until_it_is_turned_off(page: Page) -> None:
    page.goto("/recipients")
    search = page.get_by_role("searchbox")
    page.keyboard.press("/")
    expect(search).to_be_focused()
    page.keyboard.type("a/b")
    expect(search).to_have_value("a/b")
    page.get_by_role("button", name="Disable").click()
    page.keyboard.press("/")
    expect(search).not_to_be_focused()
    page.reload()
    page.keyboard.press("/")
    expect(search).not_to_be_focused()
