"""The demo: the real service with example data in `demo/`, and one email to watch from its POST to its delivery."""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from database import open_database
from intake.address import clean_address
from serving.supervisor import say
from settings import ADDRESS, FOLDER, FROM_FILES, Settings

RECIPIENTS = ("ada@example.com", "grace@example.com", "linus@example.com")
SECONDS_AHEAD = 4  # from the POST to the due time
DELIVERY_TIMEOUT = 30.0  # seconds
PYTHON = "python" if os.name == "nt" else "python3"


def prepare() -> None:
    """Create the folder, and set every variable, so that nothing in `.env` (a real SMTP server!) is used."""
    (FOLDER / "demo").mkdir(mode=0o700, exist_ok=True)
    for name in (*map(str.upper, Settings._fields), "API_TOKEN", *(name + "_FILE" for name in FROM_FILES)):
        os.environ[name] = ""
    for name in ADDRESS:  # from the environment only
        os.environ.setdefault(name, "")
    os.environ["DATABASE_URL"] = "sqlite:///demo/email.db"
    os.environ["EMAIL_URL"] = "maildir:demo/outbox"
    os.environ["TASKLOG"] = "demo/tasklog.log"


def start(settings: Settings, url: str) -> None:
    """Run the demo in a thread that ends with the service."""
    threading.Thread(target=_run, args=(settings, url), daemon=True).start()


def _run(settings: Settings, url: str) -> None:
    with open_database(settings) as database:
        database.recipients.add([clean_address(address) for address in RECIPIENTS], datetime.now(UTC))
    say(f"Demo: added the recipients {', '.join(RECIPIENTS)}.")
    outbox = settings.email_url.path or FOLDER
    event_id = time.time_ns() // 1_000_000  # a different one for each run
    due = int(time.time()) + SECONDS_AHEAD
    _post(url, event_id, datetime.fromtimestamp(due, settings.timezone))
    received = _watch(outbox, f"Demo {event_id}", due)
    if received < len(RECIPIENTS):
        say(
            f"Demo: only {received} of {len(RECIPIENTS)} messages arrived within {DELIVERY_TIMEOUT:.0f} s. "
            f"See {settings.tasklog}."
        )
    else:
        say(f"Demo: done. The service keeps running: open {url} in a browser,")
        say(f"Demo: run {PYTHON} test_client.py, or press Ctrl-C to stop.")


def _post(url: str, event_id: int, due: datetime) -> None:
    """Make the same request as any client."""
    fields = {
        "event_id": event_id,
        "email_subject": f"Demo {event_id}",
        "email_content": "This message went through the whole service: POST, database, sender, Maildir.\n",
        "timestamp": due.strftime("%Y-%m-%d %H:%M:%S"),
    }
    for name, value in fields.items():
        say(f"Demo:   {name}={str(value).strip()}")
    opener = build_opener(ProxyHandler({}))
    try:
        with opener.open(url + "/send-emails", urlencode(fields).encode(), timeout=10) as answer:
            status, text = answer.status, answer.read().decode()
    except HTTPError as error:
        status, text = error.code, error.read().decode()
    say(f"Demo: POST {url}/send-emails -> {status} {text.strip()}. The email is due at {due:%H:%M:%S}.")


def _watch(outbox: Path, subject: str, due: int) -> int:
    """Print each message of the email as it arrives. Return how many arrived in time."""
    seen: set[Path] = set()
    received = 0
    deadline = due + DELIVERY_TIMEOUT
    while received < len(RECIPIENTS) and time.time() < deadline:
        time.sleep(0.05)
        for path in sorted(set((outbox / "new").glob("*")) - seen):
            seen.add(path)
            received += _show(path, subject, due)
    return received


def _show(path: Path, subject: str, due: int) -> bool:
    with path.open("rb") as file:
        header = BytesHeaderParser().parse(file)
    if header["Subject"] != subject:
        return False
    status = path.stat()
    late = max(status.st_mtime, status.st_ctime) - due  # ctime: when it was moved into new/
    say(f"Demo: {header['To']}: delivered {late:.2f} s after its due time to {path.relative_to(FOLDER)}")
    return True
