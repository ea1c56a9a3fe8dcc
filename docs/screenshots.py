"""Create the pictures in README and docs with Chromium: the schedule, and an email that some people did not receive.

python docs/screenshots.py
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Page, ViewportSize

from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.samples import installation as sample_installation
from tests.support.servers.smtp_server import ScriptedServer
from tests.support.servers.web_server import serve
from tests.support.web.browser import started_chromium

DOCS = Path(__file__).resolve().parent
RECIPIENTS = 700
SIZE: ViewportSize = {"width": 1080, "height": 840}
AGES = {sample_installation.HELD: 3, sample_installation.MINUTES: 9, sample_installation.NEWSLETTER: 2}  # days


def main() -> None:
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("Chromium is missing: install Debian's package chromium")
    with tempfile.TemporaryDirectory() as folder, ScriptedServer() as mail_server:
        installation = Installation(Path(folder), EMAIL_URL=f"smtp://127.0.0.1:{mail_server.port}")
        prepare(installation)
        installation.environment["SMTP_MAX_RATE"] = "40"
        sender = installation.start_task()
        try:
            with serve(Path(folder), port := unused_port(), **installation.environment):
                take_all(program, f"http://127.0.0.1:{port}")
        finally:
            sender.terminate()
            sender.communicate()


def take_all(program: str, address: str) -> None:
    """Take all pictures while tonight's email is being sent."""
    with started_chromium(program) as browser:
        page = browser.new_context(base_url=address, viewport=SIZE, color_scheme="light").new_page()
        page.goto("/")
        while page.locator("progress").evaluate("bar => bar.value / bar.max") < 0.5:
            page.wait_for_timeout(200)
        take(page, "schedule")
        page.goto(f"/emails/{sample_installation.NEWSLETTER}")
        take(page, "email")


def prepare(installation: Installation) -> None:
    """Create the data of a choir after some weeks, with an email that is about to be sent."""
    sample_installation.fill(installation, RECIPIENTS)
    with installation.database() as database:
        for event_id, days in AGES.items():
            sample_installation.age(database, event_id, days * sample_installation.DAY + event_id % 7 * 3_600)
        for event_id in (sample_installation.CONCERT, sample_installation.OVERDUE):
            database.connection.execute("DELETE FROM emails WHERE event_id = :event_id", event_id=event_id)
            database.connection.execute("DELETE FROM progress WHERE event_id = :event_id", event_id=event_id)
    installation.save_email(
        sample_installation.NEXT_WEEK + 1, -1, "Tonight's concert begins at eight", sample_installation.TEXT
    )


def take(page: Page, name: str) -> None:
    """Save a picture of the visible part of the page."""
    file = DOCS / f"{name}.png"
    page.screenshot(path=file)
    print(f"{file.relative_to(DOCS.parent)}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
