"""Take pictures of the pages with Chromium, while an email is being sent.

python docs/screenshots.py             the two pictures in README and docs: the schedule and an email with failures
python docs/screenshots.py --all OUT   every page into the folder OUT, in light and dark mode, on a desk and on a phone

With --all, there are three services: one that is sending, one without a mail server (practice) and one without data
(empty). OUT/index.html and OUT/sheet-….png show all pictures side by side.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Browser, Page, ViewportSize

from email_app import create_app
from sender.outgoing import unsubscribe_tokens
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.samples import installation as sample
from tests.support.servers.smtp_server import ScriptedServer
from tests.support.servers.web_server import serve
from tests.support.web.browser import started_chromium
from web.auth.browsers import is_for_programs

DOCS = Path(__file__).resolve().parent
RECIPIENTS = 700
DOCS_SIZE: ViewportSize = {"width": 1080, "height": 840}
SIZES: dict[str, ViewportSize] = {"desk": {"width": 1280, "height": 900}, "phone": {"width": 390, "height": 844}}
SCHEMES = ("light", "dark")
MAX_HEIGHT = 4_000  # pixels of a picture
THUMBNAIL = {"desk": 320, "phone": 120}  # pixels of width on the sheets
AGES = {sample.HELD: 3, sample.MINUTES: 9, sample.NEWSLETTER: 2}  # days
FROM = {"MAIL_FROM": "Riverside Choir <news@choir.example.org>"}  # so that the pages carry a choir's name
TONIGHT = sample.PERSONAL + 1  # the email that is being sent
NOT_PICTURED = ("/frame", "/source", "/html", ".csv", "/static/<path:filename>")  # files and frames


class Shot(NamedTuple):
    """A picture. `do` is what is done on the page first."""

    address: str
    do: Callable[[Page], object] | None = None


def fill_in(page: Page) -> None:
    page.locator("[name=email_subject]").fill("Season’s greetings")
    page.locator("[name=email_content]").fill("Hello {{ name | there }},\n\nwe sing on Monday.")
    if page.locator("[name=date]").count():
        page.locator("[name=date]").fill("2030-01-02")
        page.locator("[name=time]").fill("09:00")
    page.locator("[name=audience][value=everyone]").check()


def write(page: Page) -> None:
    fill_in(page)
    page.locator("#live-mail .mail-subject", has_text="Season’s greetings").wait_for()


def review(page: Page) -> None:
    fill_in(page)
    with page.expect_event("load"):
        page.get_by_role("button", name=re.compile("^Review (and schedule|changes)")).click()


def refuse(page: Page) -> None:
    fill_in(page)
    page.locator("[name=date]").fill("1969-01-02")
    with page.expect_event("load"):
        page.get_by_role("button", name=re.compile("^Review ")).click()


def remove_selected(page: Page) -> None:
    page.get_by_role("checkbox").nth(2).check()
    page.get_by_role("checkbox").nth(3).check()
    with page.expect_event("load"):
        page.get_by_role("button", name="Remove selected").click()


def select(page: Page) -> None:
    page.get_by_role("checkbox").nth(2).check()


# The pictures of the service that is sending, by name. The names in braces are those of `names_of`.
FULL = {
    "schedule": Shot("/"),
    "emails": Shot("/?status=all"),
    "emails-failed": Shot("/?status=failed"),
    "calendar": Shot("/calendar"),
    "email-sending": Shot(f"/emails/{TONIGHT}"),
    "email-failures": Shot(f"/emails/{sample.NEWSLETTER}"),
    "email-failed-deliveries": Shot(f"/emails/{sample.NEWSLETTER}?status=failed"),
    "email-sent": Shot(f"/emails/{sample.MINUTES}"),
    "email-held": Shot(f"/emails/{sample.HELD}"),
    "email-cancelled": Shot(f"/emails/{sample.CANCELLED}"),
    "email-scheduled": Shot(f"/emails/{sample.NEXT_WEEK}"),
    "email-edit": Shot(f"/emails/{sample.NEXT_WEEK}/edit"),
    "new": Shot("/emails/new"),
    "new-written": Shot("/emails/new", write),
    "new-review": Shot("/emails/new", review),
    "new-copy": Shot(f"/emails/new?copy={sample.NEWSLETTER}"),
    "drafts": Shot("/drafts"),
    "templates": Shot("/templates"),
    "recipients": Shot("/recipients"),
    "recipients-selected": Shot("/recipients", select),
    "recipients-remove": Shot("/recipients", remove_selected),
    "recipient": Shot("/recipients/3"),
    "recipient-unsubscribed": Shot("/recipients/7"),
    "import": Shot("/recipients/import"),
    **{f"import-{number}": Shot(f"/recipients/imports/{number}") for number in range(1, 9)},
    "lists": Shot("/lists"),
    "list": Shot("/lists/1"),
    "outbox": Shot("/outbox"),
    "health": Shot("/health"),
    "docs": Shot("/docs"),
    "styleguide": Shot("/styleguide"),
    "not-found": Shot("/nothing"),
    "unsubscribe": Shot("/unsubscribe/{token}"),
    "unsubscribe-list": Shot("/unsubscribe/{newsletter}/{token_of_newsletter}"),
    "unsubscribe-forged": Shot("/unsubscribe/forged"),
}
PRACTICE = {
    "schedule": Shot("/"),
    "email": Shot(f"/emails/{sample.NEWSLETTER}"),
    "outbox": Shot("/outbox"),
    "outbox-message": Shot("/outbox/{message}"),
    "new-review": Shot("/emails/new", review),
    "health": Shot("/health"),
}
EMPTY = {
    "schedule": Shot("/"),
    "calendar": Shot("/calendar"),
    "emails": Shot("/?status=all"),
    "new": Shot("/emails/new"),
    "new-refused": Shot("/emails/new", refuse),
    "drafts": Shot("/drafts"),
    "templates": Shot("/templates"),
    "recipients": Shot("/recipients"),
    "lists": Shot("/lists"),
    "import": Shot("/recipients/import"),
    "outbox": Shot("/outbox"),
    "health": Shot("/health"),
    "login": Shot("/login"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", metavar="OUT", type=Path, help="take pictures of every page into this folder")
    out: Path | None = parser.parse_args().all
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("Chromium is missing: install Debian's package chromium")
    with started_chromium(program) as browser:
        if out is None:
            with sending() as (address, _):
                take_for_docs(browser, address)
        else:
            take_all(browser, out)


@contextmanager
def sending(rate: int = 40, **settings: str) -> Iterator[tuple[str, Installation]]:
    """Serve a choir's data of some weeks while tonight's email is being sent. Yield its address."""
    with tempfile.TemporaryDirectory() as folder, ScriptedServer() as mail_server:
        installation = Installation(Path(folder), EMAIL_URL=f"smtp://127.0.0.1:{mail_server.port}", **FROM, **settings)
        prepare(installation)
        installation.environment["SMTP_MAX_RATE"] = str(rate)
        sender = installation.start_task()
        try:
            with serve(Path(folder), port := unused_port(), **installation.environment):
                yield f"http://127.0.0.1:{port}", installation
        finally:
            sender.terminate()
            sender.communicate()


@contextmanager
def idle(fill: Callable[[Installation], None], **settings: str) -> Iterator[tuple[str, Installation]]:
    """Serve an installation without a mail server. Yield its address."""
    with tempfile.TemporaryDirectory() as folder:
        installation = Installation(Path(folder), **FROM, **settings)
        fill(installation)
        installation.task()
        with serve(Path(folder), port := unused_port(), **installation.environment):
            yield f"http://127.0.0.1:{port}", installation


def prepare(installation: Installation) -> None:
    """Create the data of a choir after some weeks, with an email that is about to be sent."""
    sample.fill(installation, RECIPIENTS)
    with installation.database() as database:
        for event_id, days in AGES.items():
            sample.age(database, event_id, days * sample.DAY + event_id % 7 * 3_600)
        for event_id in (sample.CONCERT, sample.OVERDUE):
            database.connection.execute("DELETE FROM emails WHERE event_id = :event_id", event_id=event_id)
            database.connection.execute("DELETE FROM progress WHERE event_id = :event_id", event_id=event_id)
    installation.save_email(TONIGHT, -1, "Tonight's concert begins at eight", sample.TEXT)


def take_for_docs(browser: Browser, address: str) -> None:
    """Take the pictures of README and docs once half of tonight's email is sent."""
    page = browser.new_context(base_url=address, viewport=DOCS_SIZE, color_scheme="light").new_page()
    page.goto("/")
    while int((page.locator(".sending .percent").first.text_content() or "").rstrip("%")) < 50:
        page.wait_for_timeout(200)
    for name, path in (("schedule", "/"), ("email", f"/emails/{sample.NEWSLETTER}")):
        page.goto(path)
        file = DOCS / f"{name}.png"
        page.screenshot(path=file)
        print(f"{file.relative_to(DOCS.parent)}: {file.stat().st_size:,} bytes")


def take_all(browser: Browser, out: Path) -> None:
    """Take pictures of every page, and show them on sheets."""
    settings = {"FLASK_DEBUG": "1", "PUBLIC_URL": "https://mail.example.com"}
    with sending(rate=5, **settings) as (address, installation):
        check_that_none_is_missing(installation)
        take(browser, address, out / "full", FULL, names_of(installation))
    with idle(sample.fill, **settings) as (address, installation):
        take(browser, address, out / "practice", PRACTICE, names_of(installation))
    with idle(lambda installation: None, **settings) as (address, _):
        take(browser, address, out / "empty", EMPTY, {})
    make_sheets(browser, out)


def check_that_none_is_missing(installation: Installation) -> None:
    """Every page of the application must be pictured."""
    adapter = create_app(installation.settings).url_map.bind("")
    shots = [*FULL.values(), *PRACTICE.values(), *EMPTY.values()]
    paths = [shot.address.partition("?")[0].replace("{newsletter}", "1") for shot in shots]
    pictured = {adapter.match(path, "GET", return_rule=True)[0].rule for path in paths if adapter.test(path, "GET")}
    rules = adapter.map.iter_rules()
    pages = {rule.rule for rule in rules if "GET" in (rule.methods or ()) and not is_for_programs(rule.rule)}
    missing = {rule for rule in pages - pictured if not rule.endswith(NOT_PICTURED)}
    if missing:
        raise SystemExit(f"no picture of {', '.join(sorted(missing))}")


def names_of(installation: Installation) -> dict[str, object]:
    """Return the values of the names in braces in the addresses."""
    with installation.database() as database:
        tokens = unsubscribe_tokens(installation.settings, database)
        messages = sorted(path.name for path in installation.folder.glob("outbox/new/*"))
        return {
            "token": tokens.token(1).decode(),
            "newsletter": sample.NEWSLETTER,
            "token_of_newsletter": tokens.token(1, sample.NEWSLETTER).decode(),
            "message": messages[0] if messages else "",
        }


def take(browser: Browser, address: str, folder: Path, shots: Mapping[str, Shot], names: Mapping[str, object]) -> None:
    """Take the pictures `folder/NAME-SIZE-SCHEME.png` of one service."""
    folder.mkdir(parents=True, exist_ok=True)
    for size, viewport in SIZES.items():
        context = browser.new_context(base_url=address, viewport=viewport, reduced_motion="reduce")
        page = context.new_page()
        for name, shot in shots.items():
            page.goto(shot.address.format(**names))
            if shot.do:
                shot.do(page)
            for scheme in SCHEMES:
                page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
                height = min(MAX_HEIGHT, page.evaluate("document.documentElement.scrollHeight"))
                page.set_viewport_size({"width": viewport["width"], "height": max(height, viewport["height"])})
                page.screenshot(path=folder / f"{name}-{size}-{scheme}.png")
                page.set_viewport_size(viewport)
        context.close()
    print(f"{folder}: {len(shots)} pages")


def make_sheets(browser: Browser, out: Path) -> None:
    """Write index.html with all pictures, and a picture of the part of it about each service."""
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    folders = sorted(folder for folder in out.iterdir() if folder.is_dir())
    (out / "index.html").write_text(html_of(out, folders))
    for folder in folders:
        sheet = out / f"sheet-{folder.name}.html"
        sheet.write_text(html_of(out, [folder]))
        page.goto(sheet.as_uri())
        page.screenshot(path=sheet.with_suffix(".png"), full_page=True)
        sheet.unlink()
    print(f"{out}/index.html")


def html_of(out: Path, folders: list[Path]) -> str:
    """Return a page with the pictures in these folders, one row for each page of the service."""
    style = (
        "body { font: 14px sans-serif } td { vertical-align: top; padding: 4px }"
        " img { display: block; border: 1px solid #999 } a { display: block; max-height: 300px; overflow: hidden }"
    )
    rows = []
    for folder in folders:
        for name in sorted({picture.name.rsplit("-", 2)[0] for picture in folder.glob("*.png")}):
            cells = [
                f'<td><a href="{picture}"><img src="{picture}" width="{THUMBNAIL[size]}" alt=""></a>'
                for size in SIZES
                for scheme in SCHEMES
                for picture in [(folder / f"{name}-{size}-{scheme}.png").relative_to(out)]
            ]
            rows.append(f"<tr><th>{escape(folder.name)}<br>{escape(name)}{''.join(cells)}")
    return (
        f'<!DOCTYPE html><meta charset="utf-8"><title>Pages</title><style>{style}</style><table>{"".join(rows)}</table>'
    )


if __name__ == "__main__":
    main()
