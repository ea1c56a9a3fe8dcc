"""The life of an email in a real browser, from writing to unsubscribing, by mouse and by keyboard alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.servers.smtp_server import ScriptedServer
from tests.support.service import Service, give_venv, linux_only, started
from tests.support.user_input import Hands, Keyboard, Mouse
from tests.support.web.browser import Elsewhere, Tab

pytestmark = linux_only
TOKEN = "the-token-of-a-whole-life"
FILE = (
    "recipient_email,name\nada@example.com,Ada\nnobody,Bad\nalan@example.com,Alan\n@,Worse\ngrace@example.com,Grace\n"
)
SLOW = 30_000  # milliseconds, until something is sent


class Mailbox:
    """Grace's mailbox, which is full until it is emptied."""

    full = True

    def answer(self, line: bytes, _: int) -> str | None:
        return "550 5.2.2 The mailbox is full" if self.full and b"grace@" in line else None


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def mail_server(mailbox: Mailbox) -> Iterator[ScriptedServer]:
    with ScriptedServer(on={"RCPT": mailbox.answer}) as server:
        yield server


@pytest.fixture
def address(project_copy: Path, free_port: int, mail_server: ScriptedServer) -> Iterator[str]:
    """Return the address of the service, started as a user would."""
    give_venv(project_copy)
    address = f"http://127.0.0.1:{free_port}"
    settings = {"API_TOKEN": TOKEN, "PUBLIC_URL": address, "PORT": str(free_port)}
    settings["EMAIL_URL"] = f"smtp://127.0.0.1:{mail_server.port}"
    with started(project_copy, **settings) as service:
        assert service.has_printed(f"Running at {address}"), service.output
        yield address
        end(service)


def end(service: Service) -> None:
    assert service.stop() == 0
    assert "Traceback" not in service.output


@pytest.mark.parametrize("hands", [Mouse, Keyboard])
def test_the_whole_life_of_an_email(
    chromium: Browser,
    elsewhere: Elsewhere,
    address: str,
    mailbox: Mailbox,
    mail_server: ScriptedServer,
    tmp_path: Path,
    hands: Callable[[Page], Hands],
) -> None:
    tab = Tab(chromium, address, elsewhere)
    page, person = tab.page, hands(tab.page)
    log_in(page, person)
    import_recipients(page, person, tmp_path / "people.csv")
    write_email(page, person)
    watch_it_go_out(page)
    mailbox.full = False
    retry_the_one(page, person)
    assert sorted(mail_server.recipients) == ["ada@example.com", "alan@example.com", "grace@example.com"]
    unsubscribe(page, person, link_in(mail_server.accepted[-1].content))
    log_out(page, person, address)
    assert tab.complaints == [] and elsewhere.asked == []
    tab.close()


def log_in(page: Page, person: Hands) -> None:
    page.goto("/")
    person.write(page.get_by_label("Token"), TOKEN)
    person.press(page.get_by_role("button", name="Log in"))
    expect(page.get_by_role("heading", name="Welcome")).to_be_visible()


def import_recipients(page: Page, person: Hands, file: Path) -> None:
    file.write_text(FILE)
    person.press(page.get_by_role("link", name="Import a file"))
    person.choose_file(page.get_by_label("File", exact=True), file)
    person.press(page.get_by_role("button", name="Continue"))
    expect(page.get_by_role("heading", name="2 lines cannot be imported")).to_be_visible(timeout=SLOW)
    person.press(page.get_by_role("button", name="Import 3 new recipients"))
    expect(page.get_by_role("heading", name="Imported")).to_be_visible(timeout=SLOW)


def write_email(page: Page, person: Hands) -> None:
    person.press(page.get_by_role("link", name="New email"))
    person.write(page.get_by_label("Subject"), "Tonight at eight")
    person.write(page.get_by_label("Message"), "We sing in the great hall.")
    person.write_time(page.get_by_label("Date"), page.get_by_label("Time", exact=True), "2026-01-02T03:04")
    person.press(page.get_by_role("button", name="Review"))
    expect(page.get_by_text("This time has passed. The email will be sent immediately")).to_be_visible()
    person.press(page.get_by_role("button", name="Send now to 3 recipients"))
    expect(page.get_by_role("button", name="Undo")).to_be_visible()


def watch_it_go_out(page: Page) -> None:
    """Wait without touching anything: the page updates automatically."""
    expect(page.get_by_text("Sent, 1 failed", exact=True)).to_be_visible(timeout=SLOW)


def retry_the_one(page: Page, person: Hands) -> None:
    person.press(page.get_by_role("table", name="Reasons").get_by_role("link", name="1", exact=True))
    expect(page.get_by_text("550 5.2.2 The mailbox is full").first).to_be_visible()
    person.press(page.get_by_role("checkbox", name="Select grace@example.com"))
    person.press(page.get_by_role("button", name="Retry selected"))
    expect(page).to_have_title(re.compile("Sent: Tonight at eight"), timeout=SLOW)


def link_in(content: bytes) -> str:
    """Return the link at the end of a message."""
    found = re.search(rb"http://\S+/unsubscribe/\S+", content.partition(b"\r\n\r\n")[2])
    assert found, content
    return found[0].decode()


def unsubscribe(page: Page, person: Hands, link: str) -> None:
    page.goto(link)
    person.press(page.get_by_role("button", name="Unsubscribe"))
    expect(page.get_by_role("heading", name="You are unsubscribed")).to_be_visible()
    expect(page.get_by_text("g…e@example.com")).to_be_visible()


def log_out(page: Page, person: Hands, address: str) -> None:
    page.goto("/recipients?status=unsubscribed")
    expect(page.get_by_role("checkbox", name="Select grace@example.com")).to_be_visible()
    person.press(page.get_by_label("More"))
    person.press(page.get_by_role("button", name="Log out"))
    expect(page).to_have_url(f"{address}/login")
    page.goto("/recipients")
    expect(page.get_by_label("Token")).to_be_visible()
