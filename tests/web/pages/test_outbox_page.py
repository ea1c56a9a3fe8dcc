"""The outbox: messages as recipients would see them. No message can do any harm."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from werkzeug.test import TestResponse

from delivery.maildir.reader import newest
from monitoring.cached import CachedCheck
from tests.support.web.api_client import Api
from web.pages import outbox_list
from web.services import services_of

HTML = '<html><body><h1>Good day</h1><script>alert(1)</script><img src="http://evil.example/x.png"></body></html>'


@pytest.fixture
def sqlite_api(tmp_path: Path) -> Iterator[Api]:
    made = Api(tmp_path)
    yield made
    made.close()


def get(api: Api, path: str, status: int = 200) -> TestResponse:
    answer = api.client.get(path, headers={"Accept": "text/html"})
    assert answer.status_code == status, answer.text
    return answer


def names(api: Api) -> list[str]:
    """Return the names of the messages, newest first."""
    return newest(api.installation.folder / "outbox").before(None, 1000)


def listed(page: str) -> list[str]:
    """Return the names of the messages in the list of a page."""
    return re.findall(r'<li><a href="/outbox/([^"?]+)', page)


def put(api: Api, name: str, octets: bytes, folder: str = "new") -> Path:
    path = api.installation.folder / "outbox" / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)
    return path


def send(api: Api, *contents: str, recipients: int = 1) -> None:
    """Send an email for each subject, a second apart."""
    api.installation.add_recipients(recipients)
    for number, content in enumerate(contents):
        api.installation.save_email(number + 1, -100 + number, f"Größe & <b>{number}</b>", content)
    with api.installation.database() as database, database.connection.transaction():
        database.connection.execute("UPDATE emails SET created_at = due_at")
    assert api.sweep() == []


def test_an_outbox_in_which_nothing_is_says_what_comes_next(sqlite_api: Api) -> None:
    assert "No messages yet" in get(sqlite_api, "/outbox").text


def test_what_was_sent_is_listed_the_last_due_first(api: Api) -> None:
    send(api, "one", "two", "three", recipients=2)
    page = get(api, "/outbox").text
    assert "6 messages" in page
    subjects = [f"Größe &amp; &lt;b&gt;{number}&lt;/b&gt;" for number in (2, 1, 0)]
    places = [page.index(subject) for subject in subjects]
    assert places == sorted(places)
    assert "r0@example.com" in page and "r1@example.com" in page
    assert "<b>2" not in page


def test_a_message_is_shown_with_its_fields_its_text_and_its_html(sqlite_api: Api) -> None:
    send(sqlite_api, HTML)
    (name,) = names(sqlite_api)
    page = get(sqlite_api, f"/outbox/{name}").text
    assert "Größe &amp; &lt;b&gt;0&lt;/b&gt;" in page and "<script>alert" not in page
    assert f'<iframe class="pane-frame" sandbox title="The email as HTML" src="/outbox/{name}/html"' in page
    assert "Good day" in get(sqlite_api, f"/outbox/{name}?view=text").text
    fields = get(sqlite_api, f"/outbox/{name}?view=fields").text
    assert "Auto-Submitted" in fields and "<iframe" not in fields
    source = get(sqlite_api, f"/outbox/{name}/source")
    assert source.content_type == "text/plain; charset=utf-8"
    assert source.data == (sqlite_api.installation.folder / "outbox" / "new" / name).read_bytes()


def test_the_html_can_do_nothing_wherever_it_is_opened(sqlite_api: Api) -> None:
    send(sqlite_api, HTML.replace("<h1>", "<LINK\nrel=preconnect href=//evil.example><linked><h1>"))
    answer = get(sqlite_api, f"/outbox/{names(sqlite_api)[0]}/html")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert "frame-ancestors 'self'" in policy and "allow" not in policy and "script-src" not in policy
    assert "<linked>" in answer.text and "<link" not in answer.text.lower().replace("<linked>", "")


def test_text_alone_has_no_frame(sqlite_api: Api) -> None:
    send(sqlite_api, "Only <text>\n")
    (name,) = names(sqlite_api)
    page = get(sqlite_api, f"/outbox/{name}").text
    assert "Only &lt;text&gt;" in page and "<iframe" not in page
    assert "Only &lt;text&gt;" in get(sqlite_api, f"/outbox/{name}?view=html").text
    get(sqlite_api, f"/outbox/{name}/html", 404)


@pytest.mark.parametrize(
    "name",
    [
        "..%2f..%2femail.db",
        "..",
        "%2e%2e%2femail.db",
        "..%5cemail.db",
        ".hidden",
        "tmp",
        "new",
        "a" * 300,
        "no%00",
        "é",
    ],
)
def test_no_name_leads_out_of_the_outbox(sqlite_api: Api, name: str) -> None:
    put(sqlite_api, ".hidden", b"To: a@example.com\n\nx")
    for path in (f"/outbox/{name}", f"/outbox/{name}/source", f"/outbox/{name}/html"):
        get(sqlite_api, path, 404)


def test_no_link_is_followed_and_no_pipe_waited_for(sqlite_api: Api) -> None:
    file = put(sqlite_api, "here", b"To: a@example.com\n\nx")
    file.with_name("link").symlink_to(sqlite_api.installation.folder / "email.db")
    os.mkfifo(file.with_name("pipe"))
    file.with_name("folder").mkdir()
    page = get(sqlite_api, "/outbox").text
    assert "/outbox/here" in page
    for name in ("link", "pipe", "folder"):
        assert f"/outbox/{name}" not in page
        get(sqlite_api, f"/outbox/{name}/source", 404)


def test_pages_go_on_after_a_name_and_nothing_is_listed_twice(sqlite_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_list, "PAGE_SIZE", 4)
    send(sqlite_api, "one", "two", "three", recipients=3)
    seen, address = [], "/outbox"
    while address:
        page = get(sqlite_api, address).text
        seen += listed(page)
        _, _, rest = page.rpartition('href="/outbox?after=')
        address = "/outbox?after=" + rest.partition('"')[0] if 'rel="next"' in page else ""
    assert seen == names(sqlite_api) and len(set(seen)) == 9
    get(sqlite_api, "/outbox?after=../x", 400)
    assert "No older messages" in get(sqlite_api, "/outbox?after=0").text


def test_of_very_many_only_the_newest_are_listed_and_the_page_says_so(
    sqlite_api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    services_of(sqlite_api.app).outbox = CachedCheck(partial(newest, sqlite_api.installation.folder / "outbox", 5), 0)
    for number in range(9):
        put(sqlite_api, f"17000000{number:02}.t.1", b"To: a@example.com\nSubject: n\n\nx")
    put(sqlite_api, "of-another-user", b"To: a@example.com\nSubject: n\n\nx", "cur")
    page = get(sqlite_api, "/outbox").text
    assert "10 messages" in page and "Only the newest 5 messages are listed" in page
    assert "/outbox/1700000008.t.1" in page and "/outbox/1700000003.t.1" not in page


def test_messages_are_grouped_by_email_and_another_subject_is_shown(sqlite_api: Api) -> None:
    send(sqlite_api, "one", recipients=3)
    for number, subject in ((1, "Dear Ada"), (2, "Dear Bob")):
        put(sqlite_api, f"1600000000.own.{number}", f"To: r{number}@example.com\nSubject: {subject}\n\nx".encode())
    page = get(sqlite_api, "/outbox").text
    assert "5 messages from 2 emails" in page
    groups = re.findall(r'<h2 class="group-title"><bdi>(.*?)</bdi> <span>(\d+)</span>', page)
    assert groups == [("Größe &amp; &lt;b&gt;0&lt;/b&gt;", "3"), ("Dear Bob", "2")]
    assert "<small><bdi>Dear Ada</bdi></small>" in page


def test_the_list_stays_beside_the_message(sqlite_api: Api) -> None:
    send(sqlite_api, "one", recipients=3)
    newest_one, second, third = names(sqlite_api)
    assert f'<a href="/outbox/{newest_one}" aria-current="true">' in get(sqlite_api, "/outbox").text
    page = get(sqlite_api, f"/outbox/{second}?q=example").text
    assert listed(page) == [newest_one, second, third]
    assert f'<a href="/outbox/{second}?q=example" aria-current="true">' in page
    assert f'href="/outbox/{newest_one}?q=example" aria-label="Newer message"' in page
    assert f'href="/outbox/{third}?q=example" aria-label="Older message"' in page
    assert 'href="/outbox?q=example"' in page


def test_a_search_finds_addresses_and_subjects(sqlite_api: Api) -> None:
    send(sqlite_api, "one", "two", recipients=3)
    assert len(listed(get(sqlite_api, "/outbox?q=GRÖSSE").text)) == 6
    found = get(sqlite_api, "/outbox?q=R1@+größe").text
    assert len(listed(found)) == 2 and 'value="R1@ größe"' in found
    nothing = get(sqlite_api, "/outbox?q=%3Cnothing").text
    assert listed(nothing) == [] and "No messages match" in nothing and "&lt;nothing" in nothing


def test_a_search_in_very_many_goes_on_from_page_to_page(sqlite_api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_list, "MAX_SEARCHED", 4)
    for number in range(10):
        put(sqlite_api, f"17000000{number:02}.t.1", b"To: a%d@example.com\nSubject: n\n\nx" % number)
    first = get(sqlite_api, "/outbox?q=a0@").text
    assert "None of the 4 newest messages match" in first
    assert 'href="/outbox?q=a0@&amp;after=1700000006.t.1"' in first
    last = get(sqlite_api, "/outbox?q=a0@&after=1700000002.t.1").text
    assert listed(last) == ["1700000000.t.1"] and 'rel="next"' not in last


def test_a_message_that_a_mail_program_has_seen_is_still_there(sqlite_api: Api) -> None:
    put(sqlite_api, "1700000000.t.1:2,S", b"To: a@example.com\nSubject: seen\n\nx", "cur")
    assert "seen" in get(sqlite_api, "/outbox").text
    assert "a@example.com" in get(sqlite_api, "/outbox/1700000000.t.1:2,S").text


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"\xff\xfe\x00" * 99,
        b"Subject: =?utf-8?b?!!!?= =?no-such?q?x?= =?utf-16?q?=ff?= \xff\n\nx",
        b"Subject: " + b"=?utf-8?q?x?= " * 50_000 + b"\n\nx",
        b'Content-Type: text/plain; charset="\0"\nContent-Transfer-Encoding: base64\n\n=====\xff',
        b"".join(b'Content-Type: multipart/mixed; boundary="%d"\n\n--%d\n' % (n, n) for n in range(3000)),
        b"Content-Type: multipart/mixed\n\nx",
        b"Content-Type: message/rfc822\n\nSubject: in\n\nx",
    ],
)
def test_whatever_lies_in_the_outbox_is_shown(sqlite_api: Api, octets: bytes) -> None:
    put(sqlite_api, "odd", octets)
    assert "/outbox/odd" in get(sqlite_api, "/outbox").text
    assert "source" in get(sqlite_api, "/outbox/odd").text
    assert get(sqlite_api, "/outbox/odd/source").data == octets


def test_a_message_too_large_to_be_shown_whole_says_so(sqlite_api: Api) -> None:
    put(sqlite_api, "large", b"To: a@example.com\n\n" + b"text text\n" * 250_000)
    page = get(sqlite_api, "/outbox/large").text
    assert "the first 2,000,000 bytes" in page and len(page) < 2_100_000


def test_with_a_mail_server_the_page_says_where_mail_goes(tmp_path: Path) -> None:
    api = Api(tmp_path, EMAIL_URL="smtp+tls://me:hunter2@mail.example.com:587")
    page = get(api, "/outbox").text
    assert "mail.example.com:587" in page and "hunter2" not in page
    assert 'href="/outbox"' not in page
    get(api, "/outbox/1700000000.t.1", 404)
    api.close()


def test_a_folder_that_cannot_be_read_is_said(sqlite_api: Api) -> None:
    (sqlite_api.installation.folder / "outbox").write_text("in the way")
    assert "cannot be read: Not a directory" in get(sqlite_api, "/outbox").text
