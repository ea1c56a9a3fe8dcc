"""What an organiser does with a list, in Chromium by mouse and by keyboard alone, and in Firefox.

They import a file into a list, write to it with names, preview the email as one person, and send it. That person leaves
the list by the link in their message, and still receives what goes to their other list.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser

from database import Address
from tests.support.in_process import sweep_once
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.servers.smtp_server import Accepted, ScriptedServer
from tests.support.servers.web_server import serve
from tests.support.user_input import Keyboard, Mouse
from tests.support.web.browser import Elsewhere, Tab
from tests.support.web.firefox import started_firefox
from tests.support.web.person import AtPlaywright, Person

GRACE = "grace@example.com"
FILE = f"E-mail,First name\nada@example.com,Ada\nalan@example.com,Alan\n{GRACE},Grace\n"


class Service(NamedTuple):
    """A service with a list Choir, in which Grace is."""

    address: str
    installation: Installation
    mail_server: ScriptedServer

    def let_undo_expire(self) -> None:
        """Send what was sent from a page, as if the seconds in which it can be undone were over."""
        with self.installation.database() as database:
            database.connection.execute("UPDATE emails SET due_at = due_at - 15")
        assert sweep_once(self.installation) == []

    def received(self, subject: str) -> dict[str, Accepted]:
        """Return the messages with this subject, by recipient."""
        line = f"Subject: {subject}".encode()
        return {message.recipient.decode(): message for message in self.mail_server.accepted if line in message.content}


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    port = unused_port()
    address = f"http://127.0.0.1:{port}"
    with ScriptedServer() as mail_server:
        url = f"smtp://127.0.0.1:{mail_server.port}"
        installation = Installation(tmp_path, EMAIL_URL=url, PUBLIC_URL=address)
        with installation.database() as database:
            database.lists.add("Choir", datetime.now(UTC))
            database.lists.add_members("Choir", [Address(GRACE, GRACE)], datetime.now(UTC), "page")
        with serve(tmp_path, port, **installation.environment):
            yield Service(address, installation, mail_server)


@pytest.mark.parametrize("hands", [Mouse, Keyboard])
def test_the_journey_in_chromium(
    chromium: Browser, elsewhere: Elsewhere, service: Service, tmp_path: Path, hands: type[Mouse | Keyboard]
) -> None:
    tab = Tab(chromium, service.address, elsewhere)
    travel(AtPlaywright(tab.page, hands(tab.page)), service, tmp_path)
    assert tab.complaints == [] and elsewhere.asked == []
    tab.close()


def test_the_journey_in_firefox(service: Service, tmp_path: Path) -> None:
    program = shutil.which("firefox-esr")
    if program is None:
        pytest.skip("Firefox is not installed")
    with started_firefox(program) as firefox:
        travel(firefox, service, tmp_path)
        assert firefox.complaints == []
        assert [url for url in firefox.requests if url.startswith("http") and service.address not in url] == []


def travel(person: Person, service: Service, folder: Path) -> None:
    """Make the journey."""
    person.open(f"{service.address}/recipients")
    import_into_a_list(person, folder / "guests.csv")
    person.press("link", "Write an email")
    write(person, "Gala: your tickets", "Hello {{ first_name | there }},\n\nyour tickets are at the door.")
    preview(person)
    show_as_grace(person)
    send(person, "3 recipients")
    service.let_undo_expire()
    person.read_title("Sent")  # the page updates automatically
    messages = service.received("Gala: your tickets")
    assert sorted(messages) == ["ada@example.com", "alan@example.com", GRACE]
    assert b"Hello Grace,\r\n\r\nyour tickets" in messages[GRACE].content
    leave(person, link_in(messages[GRACE].content))
    person.open(f"{service.address}/lists")
    person.press("link", "Gala")
    person.read("2 members")
    person.open(f"{service.address}/emails/new")
    person.choose("audience", "lists")
    person.choose("email_list", "Choir")
    write(person, "Choir: rehearsal", "We sing on Monday.")
    preview(person)
    send(person, "1 recipient")
    service.let_undo_expire()
    assert list(service.received("Choir: rehearsal")) == [GRACE]


def import_into_a_list(person: Person, file: Path) -> None:
    file.write_text(FILE)
    person.press("link", "Import")
    person.choose_file("file", file)
    person.press("button", "Continue")
    person.read("Review import")
    person.write("new_list", "Gala")
    person.press("button", "Import 2 new recipients")
    person.read("Added to lists")


def write(person: Person, subject: str, content: str) -> None:
    person.write("email_subject", subject)
    person.write("email_content", content)
    person.choose("when", "now")


def preview(person: Person) -> None:
    person.press("button", "Review and schedule")
    person.read("Not scheduled yet")


def show_as_grace(person: Person) -> None:
    person.write("shown_to", GRACE)
    person.press("button", "Show")
    person.read("Hello Grace")


def send(person: Person, to: str) -> None:
    person.press("button", f"Send now to {to}")
    person.read_title("Scheduled")


def leave(person: Person, link: str) -> None:
    person.open(link)
    person.read("Gala")
    person.press("button", "Unsubscribe from selected lists")
    person.read("You have left this list")
    person.read("Choir")  # is still offered


def link_in(content: bytes) -> str:
    """Return the link at the end of a message."""
    found = re.search(rb"http://\S+/unsubscribe/\S+", content.partition(b"\r\n\r\n")[2])
    assert found, content
    return found[0].decode()
