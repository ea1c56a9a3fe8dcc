"""A person at the pages, in any browser: what they press, write and read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

from playwright.sync_api import Page, expect

from tests.support.user_input import Hands

PATIENCE = 20.0  # seconds


class Person(Protocol):
    """Waits for each element. Fields are found by the name that their form sends."""

    def open(self, address: str) -> None:
        """Open an address, such as a link from a message."""

    def press(self, role: str, *names: str) -> None:
        """Press the link or button that has one of these accessible names."""

    def write(self, field: str, text: str) -> None:
        """Replace the text of a field."""

    def choose(self, field: str, value: str) -> None:
        """Select this radio button or checkbox."""

    def choose_file(self, field: str, file: Path) -> None:
        """Choose a file."""

    def read(self, text: str) -> None:
        """Wait until the page contains this text, in upper or lower case."""

    def read_title(self, text: str) -> None:
        """Wait until the title of the page contains this text."""


def selector(field: str, value: str | None = None) -> str:
    """Return the CSS selector of a field that a person can see."""
    return f"[name='{field}']:not([type=hidden])" + (f"[value='{value}']" if value else "")


class AtPlaywright:
    """A person whose browser Playwright drives, with the mouse or with the keyboard."""

    def __init__(self, page: Page, hands: Hands) -> None:
        self.page = page
        self.hands = hands

    def open(self, address: str) -> None:
        self.page.goto(address)

    def press(self, role: str, *names: str) -> None:
        either = re.compile(f"^({'|'.join(map(re.escape, names))})$")
        self.hands.press(self.page.get_by_role(role, name=either).first)  # type: ignore[arg-type]

    def write(self, field: str, text: str) -> None:
        self.hands.write(self.page.locator(selector(field)), text)

    def choose(self, field: str, value: str) -> None:
        self.hands.choose(self.page.locator(selector(field, value)))

    def choose_file(self, field: str, file: Path) -> None:
        self.hands.choose_file(self.page.locator(selector(field)), file)

    def read(self, text: str) -> None:
        expect(self.page.locator("main")).to_contain_text(text, ignore_case=True, timeout=PATIENCE * 1_000)

    def read_title(self, text: str) -> None:
        expect(self.page).to_have_title(re.compile(re.escape(text)), timeout=PATIENCE * 1_000)
