"""A person at a page: by mouse, or by keyboard alone."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from playwright.sync_api import Locator, Page

MOST_TABS = 150


class Hands(Protocol):
    """What a person does."""

    def press(self, what: Locator) -> None:
        """A link, a button, a box to tick."""

    def write(self, field: Locator, text: str) -> None:
        """Into a field, in place of what is in it."""

    def write_time(self, field: Locator, moment: str) -> None:
        """A time as 2026-01-02T03:04:05."""

    def choose_file(self, field: Locator, file: Path) -> None:
        """In the window of the system, which is the browser's own."""


def intercept_file_choosers(page: Page) -> None:
    """Keep the browser from opening its own window. `expect_file_chooser` alone asks for that too late at times."""
    page.on("filechooser", lambda chooser: None)


class Mouse:
    """Points and clicks."""

    def __init__(self, page: Page) -> None:
        self.page = page
        intercept_file_choosers(page)

    def press(self, what: Locator) -> None:
        what.click()

    def write(self, field: Locator, text: str) -> None:
        field.click()
        field.fill(text)

    def write_time(self, field: Locator, moment: str) -> None:
        field.fill(moment)

    def choose_file(self, field: Locator, file: Path) -> None:
        with self.page.expect_file_chooser() as chooser:
            field.click()
        chooser.value.set_files(file)


class Keyboard:
    """Tab, Enter, Space and letters: nothing is pointed at, and nothing is reached but by going on to it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        intercept_file_choosers(page)

    def press(self, what: Locator) -> None:
        self._go_to(what)
        self.page.keyboard.press("Space" if what.get_attribute("type") == "checkbox" else "Enter")

    def write(self, field: Locator, text: str) -> None:
        self._go_to(field)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)

    def write_time(self, field: Locator, moment: str) -> None:
        """The parts stand in the order of the browser's language, en-US: month, day, year, hour, minute, second."""
        year, month, day, *clock = moment.replace("T", "-").replace(":", "-").split("-")
        self._go_to(field)
        self.page.keyboard.type(f"{month}{day}{year}")
        self.page.keyboard.press("ArrowRight")
        self.page.keyboard.type("".join(clock) + "AM")
        assert field.input_value() == moment

    def choose_file(self, field: Locator, file: Path) -> None:
        self._go_to(field)
        with self.page.expect_file_chooser() as chooser:
            self.page.keyboard.press("Enter")
        chooser.value.set_files(file)

    def _go_to(self, what: Locator) -> None:
        what.wait_for()
        for _ in range(MOST_TABS):
            if what.evaluate("element => element === document.activeElement"):
                assert what.evaluate("element => element.matches(':focus-visible')"), "it cannot be seen where one is"
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not lead to {what}")
