"""While no mail server is set, mail only reaches the outbox: no page or message calls anything sent or delivered."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from html import unescape
from pathlib import Path

import pytest
from flask_wtf.csrf import generate_csrf

from database import DeliveryUpdate
from tests.support.deliveries import in_doubt
from tests.support.recipients_command import commands_of
from tests.support.servers.smtp_server import ScriptedServer
from tests.support.web.api_client import Api

BROWSER = {"Accept": "text/html"}
# An email `will be sent` or `is not sent`, but no page says that it was sent.
SENT = re.compile(r"(?<!be )(?<!is )(?<!being )(?<!not )\b(sent|accepted|delivered)\b(?!-To)", re.IGNORECASE)
SCRIPT = re.compile(r"(?s)<(script|style)\b.*?</\1>")
TAG = re.compile("<[^>]*>")
ATTRIBUTE = re.compile(r'\b(?:aria-label|title|alt|placeholder)="([^"]*)"')
EMAILS = {"finished": 1, "scheduled": 2, "going out": 3, "held": 4, "cancelled": 5}


def save_emails(api: Api) -> None:
    """Save one email in each state. The one being sent has a failed and an unknown delivery."""
    installation = api.installation
    installation.add_recipients(4)
    installation.save_email(EMAILS["finished"], subject="One")
    api.sweep()
    for name in ("scheduled", "held", "cancelled"):
        installation.save_email(EMAILS[name], 3_600, subject=name)
    api.post(f"/emails/{EMAILS['cancelled']}/cancel")
    installation.save_email(EMAILS["going out"], subject="Three")
    now = int(time.time())
    with installation.database() as database:
        database.connection.execute(f"UPDATE emails SET status = 'held' WHERE event_id = {EMAILS['held']}")
        database.progress.start_due_emails(now)
        sender_id = database.senders.register(1, now, in_doubt)
        assert sender_id is not None
        first, second, third = database.claims.claim(sender_id, 0, now, 3)
        database.deliveries.record(sender_id, [], [], [(*first[:2], sender_id)])
        database.deliveries.record(sender_id, [(*first[:2], sender_id, "saved as new/1", now)], [], [])
        for claim, outcome, status in ((second, "failed", "failed"), (third, "in_doubt", "unknown")):
            database.deliveries.record(sender_id, [], [DeliveryUpdate(*claim[:2], outcome, status, "no", now)], [])
        database.senders.unregister(sender_id, in_doubt)


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path)
    save_emails(made)
    yield made
    made.close()


def words(html: str) -> str:
    """Return the visible text of a page, and the labels that screen readers use."""
    text = TAG.sub(lambda tag: f" {' '.join(ATTRIBUTE.findall(tag[0]))} ", SCRIPT.sub(" ", html))
    return " ".join(unescape(text).split())


def pages(api: Api) -> dict[str, str]:
    """Return the text of every page by its path, and the notices after each action."""
    paths = [
        "/",
        "/recipients",
        "/recipients/1",
        "/recipients/2",
        "/outbox",
        "/health",
        "/emails/new",
        "/recipients/import",
    ]
    paths += [f"/?status={status}" for status in ("all", "scheduled", "sending", "sent", "held", "cancelled", "failed")]
    paths += [f"/emails/{number}" for number in EMAILS.values()]
    paths += [f"/emails/3?status={status}" for status in ("sent", "failed", "unknown", "queued", "claimed", "sending")]
    found = {path: api.client.get(path, headers=BROWSER).text for path in paths}
    message = re.search(r'href="(/outbox/[^"]+)"', found["/outbox"])
    assert message
    found["message"] = api.client.get(message[1], headers=BROWSER).text
    for path, fields in ACTS:
        with api.client as client:
            client.get("/", headers=BROWSER)
            token = generate_csrf()
        answer = api.client.post(path, data={"csrf_token": token, **fields}, headers=BROWSER)
        if answer.status_code == 303:
            answer = api.client.get(answer.location, headers=BROWSER)
        found[f"{path} {fields}"] = answer.text
    return found


WRITTEN = {"email_subject": "Hello", "email_content": "Hi", "timestamp": "2090-01-02T08:00", "proposed": "77"}
ACTS: list[tuple[str, dict[str, str]]] = [
    ("/emails/new", WRITTEN | {"step": "check"}),
    ("/emails/new", WRITTEN | {"step": "test", "address": "me@example.com"}),
    ("/emails/new", WRITTEN | {"step": "schedule"}),
    ("/emails/3/retry", {"which": "failed"}),
    ("/emails/3/retry", {"which": "failed"}),
    ("/emails/1/retry", {"which": "ticked", "recipient_id": "1"}),
    ("/emails/1/release", {}),
    ("/emails/1/reschedule", {"timestamp": "2090-01-02T08:00"}),
    ("/emails/3/reschedule", {"timestamp": "2090-01-02T08:00"}),
    ("/emails/2/reschedule", {"timestamp": "2020-01-02T08:00"}),
    ("/emails/2/reschedule", {"timestamp": "2020-01-02T08:00", "confirmed": "yes"}),
    ("/emails/4/release", {}),
    ("/emails/3/cancel", {}),
]


def test_no_page_calls_anything_sent_or_delivered(api: Api) -> None:
    for path, html in pages(api).items():
        assert not re.findall(f".{{0,60}}{SENT.pattern}.{{0,20}}", words(html), re.IGNORECASE), (path, words(html))


def test_no_page_but_health_shows_a_path_of_the_server(api: Api) -> None:
    folder = str(api.installation.folder)
    shown = pages(api)
    assert [path for path, html in shown.items() if folder in html] == ["/health"]
    assert "saved as outbox/new/" in words(shown["/emails/1"])


def test_where_mail_goes_is_said_on_each_page_about_emails(api: Api) -> None:
    found = pages(api)
    for path in ("/", "/emails/1", "/emails/2", f"/emails/new {ACTS[0][1]}"):
        assert "No mail server is set. Messages are saved in the outbox , and no one receives them." in words(
            found[path]
        ), path
    assert "100% in the outbox" in words(found["/emails/1"]) and "In the outbox 4" in words(found["/emails/1"])


def test_no_command_calls_anything_sent_or_delivered_but_the_status(api: Api) -> None:
    emails = commands_of(api.installation.settings, "emails")
    said = [emails(*command).stdout for command in (["list"], ["show", "1"], ["show", "3"], ["cancel", "3"])]
    said = [re.sub(r"(?m)^(\d+\t|email \d+: )sent\b", "", text) for text in said]
    assert not SENT.findall("\n".join(said)), said
    assert "4 of 4 in the outbox" in said[0] and "delay: " in said[1]


def test_with_a_mail_server_what_it_accepted_is_sent_and_delivered(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        made = Api(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
        made.installation.add_recipients(2)
        made.installation.save_email(1)
        made.sweep()
        page = words(made.client.get("/emails/1", headers=BROWSER).text)
        assert "100% delivered to the mail server" in page and "Delivered 2" in page and "No mail server" not in page
        assert "2 of 2 sent" in commands_of(made.installation.settings, "emails")("list").stdout
        made.close()
