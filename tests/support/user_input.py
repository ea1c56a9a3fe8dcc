"""A person who uses a page with the mouse, or with the keyboard only."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from playwright.sync_api import Locator, Page

MOST_TABS = 150


class Hands(Protocol):
    """The actions of a person."""

    def press(self, what: Locator) -> None:
        """Press a link, button or checkbox."""

    def choose(self, what: Locator) -> None:
        """Select a radio button or checkbox."""

    def write(self, field: Locator, text: str) -> None:
        """Replace the text of a field."""

    def write_time(self, date: Locator, clock: Locator, moment: str) -> None:
        """Enter a time before noon, given as 2026-01-02T03:04."""

    def choose_file(self, field: Locator, file: Path) -> None:
        """Choose a file in the browser's file dialog."""


def intercept_file_choosers(page: Page) -> None:
    """Keep the browser from opening a file dialog. `expect_file_chooser` alone is sometimes too late."""
    page.on("filechooser", lambda chooser: None)


class Mouse:
    """Points and clicks."""

    def __init__(self, page: Page) -> None:
        self.page = page
        intercept_file_choosers(page)

    def press(self, what: Locator) -> None:
        what.click()

    def choose(self, what: Locator) -> None:
        what.check()

    def write(self, field: Locator, text: str) -> None:
        field.click()
        field.fill(text)

    def write_time(self, date: Locator, clock: Locator, moment: str) -> None:
        for field, text in zip((date, clock), moment.split("T"), strict=True):
            field.fill(text)

    def choose_file(self, field: Locator, file: Path) -> None:
        with self.page.expect_file_chooser() as chooser:
            field.click()
        chooser.value.set_files(file)


class Keyboard:
    """Uses only the keyboard, and reaches each element with Tab."""

    def __init__(self, page: Page) -> None:
        self.page = page
        intercept_file_choosers(page)

    def press(self, what: Locator) -> None:
        self._go_to(what)
        self.page.keyboard.press("Space" if what.get_attribute("type") == "checkbox" else "Enter")

    def choose(self, what: Locator) -> None:
        """Tab reaches a group of radio buttons at the selected one, and an arrow key selects the next one."""
        what.wait_for()
        if what.is_checked():
            return
        if what.get_attribute("type") == "radio":
            group = self.page.locator(f"[type=radio][name='{what.get_attribute('name')}']")
            selected = group.and_(self.page.locator(":checked"))
            self._go_to(selected if selected.count() else group.first)
            for _ in range(group.count()):
                if what.is_checked():
                    return
                self.page.keyboard.press("ArrowDown")
        else:
            self._go_to(what)
            self.page.keyboard.press("Space")
        assert what.is_checked()

    def write(self, field: Locator, text: str) -> None:
        self._go_to(field)
        self.page.keyboard.press("Control+a")
        self.page.keyboard.type(text)

    def write_time(self, date: Locator, clock: Locator, moment: str) -> None:
        """Type the parts in the order of the browser's locale, en-US: month, day, year, then hour, minute."""
        year, month, day, hour, minute = moment.replace("T", "-").replace(":", "-").split("-")
        self._go_to(date)
        self.page.keyboard.type(f"{month}{day}{year}")
        self._go_to(clock)
        self.page.keyboard.type(f"{hour}{minute}AM")
        assert f"{date.input_value()}T{clock.input_value()}" == moment

    def choose_file(self, field: Locator, file: Path) -> None:
        self._go_to(field)
        with self.page.expect_file_chooser() as chooser:
            self.page.keyboard.press("Enter")
        chooser.value.set_files(file)

    def _go_to(self, what: Locator) -> None:
        what.wait_for()
        for _ in range(MOST_TABS):
            if what.evaluate("element => element === document.activeElement"):
                assert what.evaluate("element => element.matches(':focus-visible')"), "the focus is not visible"
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"Tab does not reach {what}")
