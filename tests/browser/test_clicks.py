"""How many clicks each job of an organiser takes in Chromium, and how many it took before the pages were redesigned.

`pytest tests/browser/test_clicks.py -s` prints the table. A job begins at the schedule, unless it says something else.
A click is a press of a link or button; what is written, chosen or searched for counts as a field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.samples import installation as sample
from tests.support.servers.web_server import serve
from tests.support.web.browser import Elsewhere, Tab

PRESSABLE = "a, button, summary"
CONTINUE, SCHEDULE = re.compile("^Review "), re.compile("^(Schedule|Save changes)( for .*)?$")
MAX_STEPS = 3  # from a form to the page of the email
SUBJECT = "Thank you for a wonderful evening"


class Organiser:
    """Does a job, and counts."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.clicks = self.fields = 0

    def press(self, name: str | re.Pattern[str]) -> None:
        """Press the first visible link or button with this text or label."""
        self._press(self._found(name))

    def _found(self, name: str | re.Pattern[str]) -> Locator:
        pattern = name if isinstance(name, re.Pattern) else re.compile(f"^{re.escape(name)}$")
        main = self.page.locator(PRESSABLE).filter(has_text=pattern).or_(self.page.get_by_label(name, exact=True))
        return main.filter(visible=True).first

    def _press(self, what: Locator) -> None:
        what.click()
        self.clicks += 1

    def confirm(self, name: re.Pattern[str]) -> None:
        """Press the last visible button with this text: a dialog follows the button that opens it."""
        self._press(self.page.locator("main button").filter(has_text=name, visible=True).last)

    def follow(self, address: str) -> None:
        """Press the first link whose address begins like this."""
        self._press(self.page.locator(f"main a[href^='{address}']").filter(visible=True).first)

    def open_email(self, subject: str) -> None:
        self._press(self.page.get_by_role("main").get_by_role("link", name=subject).first)

    def write(self, field: str, text: str) -> None:
        self.page.locator(f"[name='{field}']:not([type=hidden])").filter(visible=True).first.fill(text)
        self.fields += 1

    def choose(self, field: str, value: str) -> None:
        self.page.locator(f"[name='{field}'][value='{value}']").check()
        self.fields += 1

    def write_email(self) -> None:
        self.press("New email")
        self.write("email_subject", "Rehearsal")
        self.write("email_content", "We sing on Monday.")

    def write_time(self) -> None:
        self.write("date", "2030-01-02")
        self.write("time", "09:00")

    def schedule(self) -> None:
        """Continue from a form to the page of the email."""
        for _ in range(MAX_STEPS):
            self.page.wait_for_load_state()
            if re.search(r"/emails/(new|\d+/edit)", self.page.url):
                finish = self.page.locator("main button").filter(has_text=SCHEDULE, visible=True)
                with self.page.expect_event("load"):
                    self._press(finish.first if finish.count() else self._found(CONTINUE))
        expect(self.page).to_have_url(re.compile(r"/emails/\d+(\?|$)"))

    def reads(self, text: str | re.Pattern[str]) -> None:
        expect(self.page.get_by_text(text).filter(visible=True).first).to_be_visible()


def add_people(organiser: Organiser) -> None:
    organiser.press("Recipients")
    organiser.write("addresses", "Ida <ida@example.org>; otto@example.org")
    organiser.press("Add")
    organiser.reads(re.compile("Added 2"))


def import_people(organiser: Organiser) -> None:
    file = organiser.folder / "guests.csv"
    file.write_text("Name;E-Mail\nEmmy;emmy@example.org\nnobody;nobody\n")
    organiser.press("Recipients")
    organiser.press("Import")
    organiser.page.locator("[name=file]").set_input_files(file)
    organiser.fields += 1
    organiser.press("Continue")
    organiser.press(re.compile("^Import 1 "))
    organiser.reads("Undo this import…")


def write_and_schedule(organiser: Organiser) -> None:
    organiser.write_email()
    organiser.write_time()
    organiser.choose("audience", "everyone")
    organiser.schedule()


def write_to_a_list(organiser: Organiser) -> None:
    organiser.write_email()
    organiser.write_time()
    organiser.choose("audience", "lists")
    organiser.choose("email_list", sample.LISTS[0])
    organiser.schedule()


def send_a_test(organiser: Organiser) -> None:
    organiser.write_email()
    organiser.write_time()
    organiser.choose("audience", "everyone")
    organiser.press(CONTINUE)
    organiser.write("address", "me@example.org")
    organiser.press("Send test")
    organiser.reads(re.compile("^Test saved"))


def watch(organiser: Organiser) -> None:
    organiser.open_email("Tonight's concert")
    expect(organiser.page).to_have_title(re.compile("^Sending: "))


def see_why_some_failed(organiser: Organiser) -> None:
    organiser.press("See why")
    organiser.reads(re.compile("No such user here"))


def retry(organiser: Organiser) -> None:
    organiser.page.goto(f"/emails/{sample.NEWSLETTER}")
    organiser.press(re.compile(r"^Retry \d+"))
    organiser.reads(re.compile("Retrying"))


def cancel_halfway(organiser: Organiser) -> None:
    organiser.page.goto(f"/emails/{sample.CONCERT}")
    organiser.press(re.compile("^Cancel (email|the rest)"))
    organiser.confirm(re.compile("^(Yes, cancel|Cancel) "))
    expect(organiser.page).to_have_title(re.compile("^Cancel"))


def reschedule(organiser: Organiser) -> None:
    organiser.open_email(SUBJECT)
    organiser.press("Reschedule")
    organiser.write("timestamp", "2030-03-04T05:06:00")
    organiser.confirm(re.compile("^(Save|Reschedule)( email)?$"))
    organiser.reads(re.compile("4 Mar"))


def correct_a_typo(organiser: Organiser) -> None:
    organiser.open_email(SUBJECT)
    organiser.press("Edit")
    organiser.write("email_subject", f"{SUBJECT}!")
    organiser.schedule()
    organiser.reads(f"{SUBJECT}!")


def send_it_again(organiser: Organiser) -> None:
    organiser.open_email("November: dates")
    organiser.press("Duplicate")
    organiser.write_time()
    organiser.schedule()


def see_a_history(organiser: Organiser) -> None:
    organiser.press("Recipients")
    organiser.write("search", "grace liskov")
    organiser.page.keyboard.press("Enter")
    organiser.page.wait_for_url("**search=grace*")
    organiser.press(re.compile("^grace.liskov@example.com$"))
    organiser.reads(re.compile("November: dates"))


def undo_sending(organiser: Organiser) -> None:
    organiser.write_email()
    organiser.choose("when", "now")
    organiser.choose("audience", "everyone")
    organiser.press(CONTINUE)
    organiser.press(re.compile("^Send now to "))
    organiser.press("Undo")
    organiser.reads(re.compile("Undone"))


def undo_removing(organiser: Organiser) -> None:
    organiser.press("Recipients")
    organiser.press("Actions for barbara.bartik@example.com")
    organiser.press("Remove…")
    organiser.confirm(re.compile("^Remove$"))
    organiser.press("Undo")
    organiser.reads(re.compile("barbara.bartik@example.com"))


def go_on_with_a_draft(organiser: Organiser) -> None:
    organiser.press("New email")
    organiser.press(re.compile(r"^(\d+ d|D)rafts"))
    organiser.follow("/emails/new?draft=1")
    expect(organiser.page.locator("[name=email_content]")).to_have_value(re.compile("Dear friends"))


def use_a_template(organiser: Organiser) -> None:
    organiser.press("New email")
    organiser.press("Templates")
    organiser.follow("/emails/new?template=")
    expect(organiser.page.locator("[name=email_content]")).to_have_value(re.compile("Dear friends"))


class Job(NamedTuple):
    """A job. `before` is the clicks it took, or why it could not be done."""

    name: str
    before: str
    max_clicks: int
    do: Callable[[Organiser], None]


JOBS = (
    Job("Add people by hand", "2", 2, add_people),
    Job("Import a CSV file as Excel writes it", "impossible", 4, import_people),
    Job("Write, preview and schedule an email", "3", 3, write_and_schedule),
    Job("Write to one list", "impossible", 3, write_to_a_list),
    Job("Send a test to myself", "3", 3, send_a_test),
    Job("Watch an email go out", "1", 1, watch),
    Job("See why some failed", "1", 1, see_why_some_failed),
    Job("Retry them (from the email)", "1", 1, retry),
    Job("Cancel half-way (from the email)", "2", 2, cancel_halfway),
    Job("Reschedule", "3", 3, reschedule),
    Job("Correct a typo in a scheduled email", "impossible", 4, correct_a_typo),
    Job("Send last month's email again", "impossible", 4, send_it_again),
    Job("See what one recipient was sent", "2", 2, see_a_history),
    Job("Undo sending", "impossible", 4, undo_sending),
    Job("Undo removing a recipient", "impossible", 5, undo_removing),
    Job("Continue a draft", "impossible", 3, go_on_with_a_draft),
    Job("Begin with a template", "impossible", 3, use_a_template),
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("jobs")
    installation = Installation(folder)
    sample.fill(installation)
    with installation.database() as database:
        for day, event_id in enumerate((sample.NEWSLETTER, sample.MINUTES), start=1):
            sample.age(database, event_id, day * 3_600)
        database.record_heartbeat(int(datetime.now(UTC).timestamp()))
    with serve(folder, port := unused_port(), **installation.environment):
        yield f"http://127.0.0.1:{port}"


def test_each_job_takes_few_clicks(chromium: Browser, elsewhere: Elsewhere, address: str, tmp_path: Path) -> None:
    """All jobs are in one test, because they share an installation and a table."""
    rows, too_many = [], []
    tab = Tab(chromium, address, elsewhere)
    for job in JOBS:
        tab.page.goto("/")
        organiser = Organiser(tab.page, tmp_path)
        job.do(organiser)
        rows.append(f"| {job.name} | {job.before} | {organiser.clicks} | {organiser.fields} |")
        too_many += [] if organiser.clicks <= job.max_clicks else [f"{job.name}: {organiser.clicks}"]
    tab.close()
    print("\n| job | clicks before | clicks | fields |\n|---|---|---|---|", *rows, sep="\n")
    assert too_many == []
