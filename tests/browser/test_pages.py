"""Every page in a real browser, light and dark, on a phone and without scripts: accessible, safe and not too wide."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, NamedTuple

import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import Error as PlaywrightError

from email_app import create_app
from sender.outgoing import unsubscribe_tokens
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.samples import installation as sample_installation
from tests.support.servers.web_server import serve
from tests.support.web.browser import PHONE, Elsewhere, Tab
from web.auth.browsers import is_for_programs

TOKEN = "the-token-of-the-pages"
# The addresses of each page to check.
PAGES: dict[str, list[str]] = {
    "/": ["/", "/?status=all", "/?status=failed", "/?status=cancelled&day=2026-01-01", f"/?event_id=1&day={'x' * 40}"],
    "/calendar": ["/calendar", "/calendar?month=2030-02"],
    "/docs": ["/docs"],
    "/drafts": ["/drafts"],
    "/health": ["/health"],
    "/emails/<event_id:event_id>": [
        *(f"/emails/{number}" for number in range(sample_installation.HELD, sample_installation.NEXT_WEEK + 1)),
        f"/emails/{sample_installation.NEWSLETTER}?status=failed&content=text",
        f"/emails/{sample_installation.PERSONAL}",
        f"/emails/{sample_installation.PERSONAL}?shown_to=nobody&content=text",
        "/emails/1",
    ],
    "/emails/<event_id:event_id>/edit": [f"/emails/{sample_installation.NEXT_WEEK}/edit"],
    "/emails/new": [
        *("/emails/new", "/emails/new?list=winter%20gala%202026", "/emails/new?draft=1", "/emails/new?template=1"),
        f"/emails/new?copy={sample_installation.NEWSLETTER}",
    ],
    "/lists": ["/lists", "/lists?archived=1"],
    "/lists/<int:list_id>": ["/lists/1", "/lists/3", "/lists/999999"],
    "/login": ["/login"],
    "/outbox": ["/outbox"],
    "/outbox/<name>": ["/outbox/{message}"],
    "/recipients": ["/recipients", "/recipients?status=unsubscribed", "/recipients?address_begins=zz"],
    "/recipients/<int:recipient_id>": ["/recipients/3", "/recipients/7", "/recipients/999999"],
    "/recipients/import": ["/recipients/import"],
    "/recipients/imports/<int:import_id>": [f"/recipients/imports/{number}" for number in range(1, 9)],
    "/templates": ["/templates"],
    "/unsubscribe/<path:link>": [
        *("/unsubscribe/{token}", "/unsubscribe/{left}", "/unsubscribe/forged"),
        "/unsubscribe/{newsletter}/{token_of_newsletter}",
    ],
}
NOT_PAGES: dict[str, str] = {
    "/emails/<event_id:event_id>/frame": "an email, as it is",
    "/emails/<event_id:event_id>/source": "plain text",
    "/outbox/<name>/html": "an email, as it is",
    "/outbox/<name>/source": "plain text",
    "/recipients/imports/<int:import_id>/bad-lines.csv": "a file",
    "/static/<path:filename>": "a file",
}
NO_SUCH_PAGE = "/nothing"


class Site(NamedTuple):
    """A service with data on every page. `session` is the cookie of someone who is logged in."""

    address: str
    names: dict[str, object]
    session: Any


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, chromium: Browser) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    installation = Installation(folder, API_TOKEN=TOKEN, PUBLIC_URL="https://mail.example.com")
    sample_installation.fill(installation)
    port = unused_port()
    with serve(folder, port, **installation.environment):
        address = f"http://127.0.0.1:{port}"
        yield Site(address, names_of(installation), logged_in(chromium, address))


def names_of(installation: Installation) -> dict[str, object]:
    """Return the values of the names in braces in PAGES."""
    with installation.database() as database:
        tokens = unsubscribe_tokens(installation.settings, database)
        message = min((installation.folder / "outbox" / "new").iterdir()).name
        newsletter = sample_installation.NEWSLETTER
        return {
            "token": tokens.token(1).decode(),
            "left": tokens.token(7).decode(),
            "newsletter": newsletter,
            "token_of_newsletter": tokens.token(1, newsletter).decode(),
            "message": message,
        }


def logged_in(chromium: Browser, address: str) -> Any:
    """Return the session of someone who is logged in."""
    context = chromium.new_context(base_url=address)
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("Token").fill(TOKEN)
    page.get_by_role("button", name="Log in").click()
    page.wait_for_load_state()
    state = context.storage_state()
    context.close()
    return state


@contextmanager
def tab_of(chromium: Browser, site: Site, elsewhere: Elsewhere, **view: Any) -> Iterator[Tab]:
    tab = Tab(chromium, site.address, elsewhere, **view)
    yield tab
    tab.close()


@pytest.fixture(scope="module")
def reader(chromium: Browser, site: Site) -> Iterator[Tab]:
    """A tab of someone who is logged in and only reads."""
    with closing(Elsewhere()) as elsewhere, tab_of(chromium, site, elsewhere, storage_state=site.session) as tab:
        yield tab


@pytest.fixture(scope="module")
def stranger(chromium: Browser, site: Site) -> Iterator[Tab]:
    """A tab of someone who is not logged in."""
    with closing(Elsewhere()) as elsewhere, tab_of(chromium, site, elsewhere) as tab:
        yield tab


def test_every_page_is_looked_at(settings: Any) -> None:
    pages = {
        rule.rule
        for rule in create_app(settings).url_map.iter_rules()
        if "GET" in (rule.methods or ()) and not is_for_programs(rule.rule)
    }
    assert pages == set(PAGES) | set(NOT_PAGES)


def refused_login(page: Page) -> None:
    page.goto("/login")
    page.get_by_label("Token").fill("no token")
    page.get_by_role("button", name="Log in").click()


def refused_recipients(page: Page) -> None:
    page.goto("/recipients")
    page.get_by_label("Addresses").fill("nobody, ada@")
    page.get_by_role("button", name="Add", exact=True).click()


def write_email(page: Page, content: str, moment: str = "2030-01-02T09:00") -> None:
    page.goto("/emails/new")
    page.get_by_label("Subject").fill("Season's greetings")
    page.get_by_label("Message").fill(content)
    page.get_by_label("Everyone").check()
    page.get_by_label("Date").fill(moment.partition("T")[0])
    page.get_by_label("Time", exact=True).fill(moment.partition("T")[2])
    page.get_by_text("Sender, reply address, limit").click()
    page.get_by_label("Email ID").fill("seven" if moment < "2030" else "")
    page.get_by_role("button", name="Review").click()
    answer = page.get_by_text("Nothing has been scheduled").or_(page.get_by_role("heading", name="Review", exact=True))
    answer.wait_for()  # the draft is saved first


def edit_email(page: Page) -> None:
    page.goto(f"/emails/{sample_installation.NEXT_WEEK}/edit")
    page.get_by_label("Now", exact=True).check()
    page.get_by_role("button", name="Review").click()


def select_recipients(page: Page) -> None:
    page.goto("/recipients")
    page.get_by_role("checkbox").nth(1).check()
    page.get_by_role("button", name="Remove selected").click()


def refused_time(page: Page) -> None:
    page.goto(f"/emails/{sample_installation.TOMORROW}")
    page.get_by_role("link", name="Reschedule").click()
    page.get_by_label("New date and time").fill("1981-12-31T23:45:00")  # clocks in Singapore skipped it
    page.get_by_role("button", name="Save").click()


def selected_delivery(page: Page) -> None:
    page.goto(f"/emails/{sample_installation.NEWSLETTER}?status=failed")
    page.get_by_role("checkbox", name="Select ").last.check()


def open_dialog(page: Page, name: str, email: int) -> None:
    page.goto(f"/emails/{email}#{name}")
    expect(page.locator(f"#{name}")).to_be_visible()


JOURNEYS: dict[str, Callable[[Page], None]] = {
    "a login that is refused": refused_login,
    "recipients that are refused": refused_recipients,
    "a new time that is refused": refused_time,
    "deliveries to retry": selected_delivery,
    "an email to cancel": lambda page: open_dialog(page, "cancel", sample_installation.TOMORROW),
    "an email to reschedule": lambda page: open_dialog(page, "reschedule", sample_installation.TOMORROW),
    "an email to release": lambda page: open_dialog(page, "release", sample_installation.HELD),
    "messages to send again": lambda page: open_dialog(page, "resend", sample_installation.NEWSLETTER),
    "an email that is refused": lambda page: write_email(page, "x", "1969-01-02T09:00"),
    "an email to look at": lambda page: write_email(page, sample_installation.TEXT),
    "an edited email that goes now": edit_email,
    "recipients to remove": select_recipients,
    "an email of HTML to look at": lambda page: write_email(page, sample_installation.PAGE),
}


@pytest.mark.parametrize("address", [*itertools.chain(*PAGES.values()), NO_SUCH_PAGE])
def test_a_page_is_for_everyone(reader: Tab, stranger: Tab, site: Site, address: str) -> None:
    tab = stranger if address == "/login" else reader
    assert tab.faults_in_every_view(lambda page: page.goto(address.format(**site.names))) == []


@pytest.mark.parametrize("journey", JOURNEYS)
def test_the_answer_to_a_form_is_for_everyone(
    chromium: Browser, site: Site, elsewhere: Elsewhere, journey: str
) -> None:
    session = None if "login" in journey else site.session
    with tab_of(chromium, site, elsewhere, storage_state=session) as tab:
        assert tab.faults_in_every_view(JOURNEYS[journey]) == []


def test_the_browser_does_complain(chromium: Browser, site: Site, elsewhere: Elsewhere) -> None:
    """The checks find faults where there are some."""
    with tab_of(chromium, site, elsewhere) as tab:
        tab.page.goto("/login")
        tab.page.evaluate("html => document.querySelector('main').insertAdjacentHTML('beforeend', html)", BAD)
        tab.page.evaluate(FAINT)
        faults = "\n".join(tab.faults())
        assert "px too wide" in faults and "axe: label" in faults and "Content Security Policy" in faults
        assert "asked elsewhere" not in faults
        assert "axe: color-contrast" in faults and "Faint" in faults and "On phones" not in faults
        tab.page.set_viewport_size(PHONE)
        assert any("axe: color-contrast" in fault and "On phones" in fault for fault in tab.faults())
        with pytest.raises(PlaywrightError):
            tab.page.goto("http://elsewhere.example/")
        assert "http://elsewhere.example/" in elsewhere.asked[0]


CLEAR = "<p>Clear text</p>" * 9
BAD = (
    f'<nobr>{"wide " * 400}</nobr><input><img alt="" src="http://elsewhere.example/x.png">'
    f'{CLEAR}<p id="faint">Faint text</p>{CLEAR}<p id="phone">On phones only</p>'
)
# The content security policy forbids style sheets in the page.
FAINT = """
() => {
  for (const rule of [
    "#faint { color: silver }", "#phone { color: lightgray }", "@media (min-width: 30rem) { #phone { display: none } }",
  ])
    document.styleSheets[0].insertRule(rule, document.styleSheets[0].cssRules.length);
}
"""
