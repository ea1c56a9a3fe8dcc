"""The content on an email's page: as its recipients see it, in a frame, and as its source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path

import pytest

from database import Email
from tests.support.servers.smtp_server import ScriptedServer
from tests.support.web.api_client import Api

BROWSER = {"Accept": "text/html"}
DIFFERENT = (
    b"To:",
    b"Date:",
    b"Message-ID:",
    b"X-Email-Delivery:",
    b"Return-Path:",
    b"Delivered-To:",
    b"X-Original-To:",
)
HOSTILE = (
    "<!DOCTYPE html><html><script>alert(1)</script><img src=https://evil.example/x.png onerror=alert(2)>"
    "</pre></iframe></main><form action=https://evil.example><button>Yes"
)
LETTER = "Dear {{ name }},\nyour seat is {{ seat | anywhere }}.\n"


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path)
    made.installation.add_recipients(2)
    yield made
    made.close()


def get(api: Api, path: str, status: int = 200) -> str:
    answer = api.client.get(path, headers=BROWSER)
    assert answer.status_code == status, answer.text
    return answer.text


def test_nothing_of_it_is_markup_of_the_page(api: Api) -> None:
    api.installation.save_email(2, 60, "<b>&amp;</b>", "</pre><script>alert(1)</script>")
    api.installation.save_email(3, 60, "<script>", HOSTILE)
    for path in ("/emails/2", "/emails/3", "/emails/3?content=text"):
        page = get(api, path)
        assert "<script>" not in page and "evil.example" not in page and "alert(2)" not in page
    assert "&lt;b&gt;&amp;amp;&lt;/b&gt;" in get(api, "/emails/2")
    assert "&lt;/pre&gt;&lt;script&gt;" in get(api, "/emails/2")


def test_html_is_shown_in_a_frame_in_which_nothing_runs_wherever_it_is_opened(api: Api) -> None:
    api.installation.save_email(3, 60, "Subject", HOSTILE)
    assert '<iframe class="mail-frame" sandbox loading="lazy" src="/emails/3/frame"' in get(api, "/emails/3")
    answer = api.client.get("/emails/3/frame", headers=BROWSER)
    assert answer.text.rstrip() == HOSTILE and answer.content_type.startswith("text/html")
    assert answer.headers["Content-Security-Policy"] == (
        "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
        "form-action 'none'; frame-ancestors 'self'"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_what_goes_as_text_has_no_frame(api: Api) -> None:
    api.installation.save_email(2, 60, "Subject", "<b>no html for delivery</b>")
    assert "<iframe" not in get(api, "/emails/2") and "&lt;b&gt;no html" in get(api, "/emails/2")
    assert get(api, "/emails/2/frame", 404)


@pytest.mark.parametrize("content", ["Größe 日本\n.\n", HOSTILE])
def test_the_source_is_what_goes_on_the_wire(api: Api, content: str) -> None:
    api.installation.save_email(2, 0, "Größe 日本", content)
    answer = api.client.get("/emails/2/source", headers=BROWSER)
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    api.sweep()
    file = next((api.installation.folder / "outbox" / "new").iterdir())
    assert comparable(answer.data) == comparable(file.read_bytes())


def test_a_long_text_is_shown_from_its_beginning(api: Api) -> None:
    api.installation.save_email(2, 60, "Subject", "x" * 50_000)
    assert "Preview shortened" in get(api, "/emails/2") and len(get(api, "/emails/2")) < 40_000


def comparable(message: bytes) -> bytes:
    """Return a message without the parts that depend on recipient and time, or that the mailbox adds."""
    lines = message.replace(b"\r\n", b"\n").split(b"\n")
    return b"\n".join(line for line in lines if not line.startswith(DIFFERENT))


def words(html: str) -> str:
    """Return the visible text of a page."""
    return " ".join(unescape(re.sub("<[^>]*>", " ", re.sub("</?(bdi|b)>", "", html))).split())


@pytest.fixture
def letter(api: Api) -> Api:
    """Save email 5 with personal fields: for Ada, Maximilian, who has the longest values, and two without a name."""
    for address, fields in (("ada@example.com", {"name": "Ada"}), ("max@example.com", {"name": "Maximilian <Great>"})):
        api.post("/recipients", {"recipients": [{"address": address, "fields": fields}]})
    save_letter(api, LETTER)
    return api


def save_letter(api: Api, content: str) -> None:
    due_at = datetime.now(UTC) + timedelta(hours=1)
    with api.installation.database() as database:
        database.emails.save(Email(5, "For {{ name }}", content, due_at, personal=True), datetime.now(UTC))


def test_personal_fields_are_filled_in_with_the_longest_values(letter: Api) -> None:
    page = get(letter, "/emails/5")
    assert "For Maximilian &lt;Great&gt;" in page and "To max@example.com" in words(page)
    assert "Dear Maximilian <Great>, your seat is anywhere." in words(page)
    assert "2 recipients will not get this email" in words(page)


def test_a_recipient_can_be_chosen(letter: Api) -> None:
    assert "Dear Ada, your seat" in words(get(letter, "/emails/5?shown_to=ada@example.com"))
    links = re.findall(r'href="([^"]*shown_to=[^"]*)#content"', get(letter, "/emails/5"))
    assert [unescape(link) for link in links] == [
        "/emails/5?shown_to=max@example.com",
        "/emails/5?shown_to=r0@example.com",
    ]
    page = words(get(letter, links[1]))
    assert "The delivery to r0@example.com would fail: " in page and "Dear {{ name }}" in page


@pytest.mark.parametrize(
    ("typed", "said"),
    [("nobody@example.com", "No recipient has this address."), ("<b>", "The address is not valid")],
)
def test_an_address_of_no_recipient_is_said_at_the_field(letter: Api, typed: str, said: str) -> None:
    page = get(letter, f"/emails/5?shown_to={typed}")
    assert said in words(page) and 'aria-describedby="shown_to-error"' in page and "<b>" not in page.partition("<h1")[2]


def test_the_frame_shows_the_same_recipient(api: Api) -> None:
    api.post("/recipients", {"recipients": [{"address": "ada@example.com", "fields": {"name": "<Ada>"}}]})
    save_letter(api, f"<!DOCTYPE html><html><p>{LETTER}</p></html>")
    assert 'src="/emails/5/frame?shown_to=ada%40example.com"' in get(api, "/emails/5?shown_to=ada%40example.com")
    for query in ("?shown_to=ada%40example.com", ""):
        assert "Dear &lt;Ada&gt;," in get(api, f"/emails/5/frame{query}")
    assert "Dear {{ name }}," in get(api, "/emails/5/frame?shown_to=r0%40example.com")


def test_once_it_was_sent_the_first_recipient_is_shown(tmp_path: Path) -> None:
    with ScriptedServer() as server:
        api = Api(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{server.port}")
        api.post("/recipients", {"recipients": [{"address": "ada@example.com", "fields": {"name": "Ada"}}]})
        save_letter(api, LETTER)
        with api.installation.database() as database:
            database.connection.execute("UPDATE emails SET due_at = 1")
        api.sweep()
        page = words(get(api, "/emails/5"))
        assert "100% delivered to the mail server" in page and "Dear Ada, your seat is anywhere." in page
        api.close()
