"""Unsubscribing, end to end: with the link of a delivered message, before, during and after a sweep."""

from __future__ import annotations

import random
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from database import Address
from email_app import create_app
from settings import load_settings
from storage.recipients.recipients import CANCEL_UNSENT, SELECT_BY_ID, SET_UNSUBSCRIBED
from tests.support import warm_python
from tests.support.environment import CLEAN_ENVIRONMENT
from tests.support.installation import PROJECT, ForkingInstallation, Installation
from tests.support.invariants import Mailing, check_whole, hurry
from tests.support.rendering import normalised, parsed, text_of
from tests.support.samples.messages import LETTERS
from tests.support.servers.smtp_server import Action, Call, Close, Handler, ScriptedServer
from tests.support.servers.web_server import FORM, Answer, Server, serve

if TYPE_CHECKING:
    from tests.support.servers.postfix import Postfix

PUBLIC = "https://mail.example.com"
ONE_CLICK = b"List-Unsubscribe=One-Click"
ENVELOPE = {"MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on"}


def web_settings(installation: Installation) -> dict[str, str]:
    """Return the settings of the service at PUBLIC, which requires a token."""
    return {"DATABASE_URL": installation.environment["DATABASE_URL"], "API_TOKEN": "t" * 16, "PUBLIC_URL": PUBLIC}


@contextmanager
def web_server(installation: Installation, port: int) -> Iterator[Server]:
    """Run the web server of that service."""
    with serve(installation.folder, port, **web_settings(installation)) as server:
        yield server


class WebApp:
    """The web application in this process. The sender runs in another one."""

    def __init__(self, installation: Installation) -> None:
        self._app = create_app(load_settings(web_settings(installation), installation.folder))

    def request(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        answer = self._app.test_client().open(path, method=method, data=body, headers=dict(headers))
        return Answer(answer.status_code, answer.text, {**answer.headers})


def links_in(octets: bytes) -> set[str]:
    """Return all unsubscribe links of a message, in its header and its parts."""
    email = parsed(octets)
    assert email["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    parts = [text_of(part) for part in email.walk() if not part.is_multipart()]
    found = [re.findall(rf"{PUBLIC}/unsubscribe/[\w/-]*", text) for text in (email["List-Unsubscribe"], *parts)]
    assert [len(links) for links in found] == [1] * len(found)
    return {link for links in found for link in links}


def path_of(octets: bytes) -> str:
    (link,) = links_in(octets)
    return link.removeprefix(PUBLIC)


def one_click(server: Server | WebApp, path: str) -> Answer:
    """Send the request that a mail provider sends."""
    return server.request("POST", path, ONE_CLICK, FORM)


def test_who_unsubscribes_gets_no_further_email(where: dict[str, str], tmp_path: Path, free_port: int) -> None:
    installation = ForkingInstallation(tmp_path, PUBLIC_URL=PUBLIC, **where)
    installation.add_recipients(3)

    def reached_by(event_id: int) -> list[str]:
        installation.save_email(event_id, subject=str(event_id))
        assert installation.task().returncode == 0
        return sorted(to for subject, to in installation.delivered() if subject == str(event_id))

    everyone = reached_by(1)
    path = path_of(file_to(installation, "r1@example.com"))
    with web_server(installation, free_port) as server:
        assert (server.request("GET", path).status, reached_by(2)) == (200, everyone)
        assert one_click(server, path).status == 200
        assert reached_by(3) == ["r0@example.com", "r2@example.com"]
        assert (one_click(server, path).status, statuses_shown(installation)) == (
            200,
            ["active", "unsubscribed", "active"],
        )
    installation.add_recipients(3)  # as an import does
    assert reached_by(4) == ["r0@example.com", "r2@example.com"]


def file_to(installation: Installation, address: str) -> bytes:
    files = [file.read_bytes() for file in (installation.folder / "outbox" / "new").iterdir()]
    (octets,) = [octets for octets in files if parsed(octets)["To"] == address]
    return octets


def statuses_shown(installation: Installation) -> list[str]:
    """Return the statuses as `flask recipients list` shows them."""
    environment = CLEAN_ENVIRONMENT | {"DATABASE_URL": installation.environment["DATABASE_URL"]}
    command = [sys.executable, "-m", "flask", "recipients", "list"]
    shown, _ = warm_python.start(command, environment, cwd=str(PROJECT)).communicate(timeout=60)
    return [line.split("\t")[1] for line in shown.splitlines()]


@contextmanager
def sweeping(
    folder: Path, recipients: int, on: dict[str, Handler], **settings: str
) -> Iterator[tuple[Mailing, ScriptedServer, WebApp]]:
    """Return an installation with a due email, a scripted mail server, and the web application."""
    with ScriptedServer(on=on) as smtp:
        mailing = Mailing(folder, smtp, recipients, PUBLIC_URL=PUBLIC, **settings)
        yield mailing, smtp, WebApp(mailing)


def paths(mailing: Mailing) -> dict[str, str]:
    """Return the path of each recipient's link before any message was sent."""
    from sender.outgoing import unsubscribe_tokens

    with mailing.database() as database:
        tokens = unsubscribe_tokens(mailing.settings, database)
        rows = database.connection.fetch_all("SELECT address, recipient_id FROM recipients")
    return {address: f"/unsubscribe/{tokens.token(number).decode()}" for address, number in rows}


def test_what_was_not_started_is_not_sent(where: dict[str, str], tmp_path: Path) -> None:
    """This applies to claimed and unclaimed deliveries. Those that were sent are not affected."""
    leaving = [f"r{number}@example.com" for number in (0, 10, 55, 150, 1)]

    def leave() -> None:
        assert {one_click(web, paths(mailing)[address]).status for address in leaving} == {200}

    on: dict[str, Handler] = {"CONTENT": lambda line, n: (Call(leave), "250 ok") if n == 50 else None}
    settings = {"SMTP_CONNECTIONS": "1", **where}
    with sweeping(tmp_path, 200, on, **settings) as (mailing, smtp, web):
        swept = mailing.task()
        assert (swept.returncode, swept.stderr, mailing.log()) == (0, "", ["1"])
    assert set(leaving) & set(smtp.recipients) == {"r0@example.com", "r10@example.com"}
    assert mailing.statuses()["sent"] == len(smtp.recipients) == 197
    with mailing.database() as database:
        check_whole(database)


@pytest.mark.parametrize("verb", ENVELOPE)
def test_the_link_is_good_until_the_message_ends(verb: str, tmp_path: Path) -> None:
    """The final dot is not sent, so that no server accepts a truncated message."""

    def leave() -> None:
        assert one_click(web, paths(mailing)["r2@example.com"]).status == 200

    on: dict[str, Handler] = {verb: lambda line, n: (Call(leave), ENVELOPE[verb]) if n == 2 else None}
    with sweeping(tmp_path, 6, on, SMTP_CONNECTIONS="1") as (mailing, smtp, web):
        swept = mailing.task()
        assert (swept.returncode, swept.stderr, mailing.log()) == (0, "", ["1"])
    assert sorted(smtp.recipients) == [f"r{number}@example.com" for number in (0, 1, 3, 4, 5)]
    assert mailing.statuses() == {"sent": 5, "cancelled": 1}


@pytest.mark.parametrize(
    ("answer", "becomes"), [("250 ok", "sent"), ("451 later", "cancelled"), (Close(), "cancelled")]
)
def test_what_has_begun_to_leave_settles_and_is_never_tried_again(
    answer: Action, becomes: str, where: dict[str, str], tmp_path: Path
) -> None:
    def leave() -> None:
        assert one_click(web, paths(mailing)["r2@example.com"]).status == 200

    on: dict[str, Handler] = {"CONTENT": lambda line, n: (Call(leave), answer) if n == 2 else None}
    settings = {"SMTP_CONNECTIONS": "1", **where}
    with sweeping(tmp_path, 6, on, **settings) as (mailing, smtp, web):
        mailing.task()
        with mailing.database() as database:
            hurry(database)
            check_whole(database)
            rows = database.connection.fetch_all("SELECT status FROM deliveries WHERE address = 'r2@example.com'")
        assert rows == [(becomes,)]
        sent = len(smtp.accepted)
        assert mailing.task().returncode == 0
        assert (len(smtp.accepted), mailing.log().count("1")) == (sent, 1)


def test_a_deferred_delivery_is_cancelled(where: dict[str, str], tmp_path: Path) -> None:
    on: dict[str, Handler] = {"RCPT": lambda line, n: "450 later" if b"r1@" in line else None}
    with sweeping(tmp_path, 3, on, **where) as (mailing, smtp, web):
        mailing.task()
        assert mailing.statuses() == {"sent": 2, "queued": 1}
        assert one_click(web, paths(mailing)["r1@example.com"]).status == 200
        assert mailing.statuses() == {"sent": 2, "cancelled": 1}
        mailing.finish()
        assert (mailing.log()[-1], "r1@example.com" in smtp.recipients) == ("1", False)


def test_a_held_email_that_had_begun_does_not_reach_who_left_meanwhile(tmp_path: Path) -> None:
    on: dict[str, Handler] = {"RCPT": lambda line, n: "450 later" if b"r1@" in line else None}
    with sweeping(tmp_path, 3, on) as (mailing, _, web):
        mailing.task()
        with mailing.database() as database, database.connection.transaction():
            database.connection.execute("UPDATE emails SET status = 'held'")
        assert one_click(web, paths(mailing)["r1@example.com"]).status == 200
        with mailing.database() as database, database.connection.transaction():
            database.connection.execute("UPDATE emails SET status = 'sending'")
        assert mailing.statuses() == {"sent": 2, "cancelled": 1}


def test_many_who_leave_at_once_while_an_email_is_being_sent(where: dict[str, str], tmp_path: Path) -> None:
    settings = {"SMTP_CONNECTIONS": "8", **where}
    with sweeping(tmp_path, 400, {}, **settings) as (mailing, smtp, web):
        leaving = random.Random(1).sample(sorted(paths(mailing).items()), 60)
        codes: list[int] = []

        def leave(some: list[tuple[str, str]]) -> None:
            codes.extend(one_click(web, path).status for _, path in some)

        threads = [threading.Thread(target=leave, args=(leaving[first::4],)) for first in range(4)]
        task = mailing.start_task()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        _, errors = task.communicate(timeout=120)
        assert (codes, errors) == ([200] * 60, "")
        mailing.finish()
    assert len(set(smtp.recipients)) == len(smtp.recipients) == mailing.statuses()["sent"] >= 340
    with mailing.database() as database:
        check_whole(database)
        rows = database.connection.fetch_all("SELECT COUNT(*) FROM recipients WHERE status = 'unsubscribed'")
    assert rows == [(60,)]


@pytest.mark.parametrize("way", ["outbox", "smtp", "smtp+tls", "old"])
def test_every_letter_arrives_with_its_links_and_is_otherwise_as_it_was_written(
    way: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    postfix: Postfix | None = None if way == "outbox" else request.getfixturevalue("postfix")
    installation = ForkingInstallation(tmp_path, PUBLIC_URL=PUBLIC, **(postfix.environment(way) if postfix else {}))
    with installation.database() as database:
        names = ["ann@example.com", "bob@example.com"]
        database.recipients.add((Address(name, name) for name in names), datetime.now(UTC))
    for event_id, letter in enumerate(LETTERS.values()):
        installation.save_email(event_id, subject=str(event_id), content=letter.content)
    assert installation.task().stderr == ""
    new = tmp_path / "outbox" / "new"
    files = postfix.received() if postfix else [file.read_bytes() for file in new.iterdir()]
    assert len(files) == 2 * len(LETTERS)
    contents = [letter.content for letter in LETTERS.values()]
    for octets in files:
        (link,) = links_in(octets)
        assert _without_link(octets, link) == _one_line_end(normalised(contents[int(str(parsed(octets)["Subject"]))]))
        assert max(map(len, octets.split(b"\n"))) <= 998
        assert octets.isascii() or way != "old"
    assert len({path_of(octets) for octets in files}) == len(files)


def _without_link(octets: bytes, link: str) -> str:
    """Return the content without the unsubscribe link."""
    *_, part = parsed(octets).walk()
    text = text_of(part)
    if part.get_content_subtype() == "html":
        return _one_line_end(text.replace(f'\n<p><small><a href="{link}">Unsubscribe</a></small></p>\n', "", 1))
    return _one_line_end(text.removesuffix(f"\nUnsubscribe: {link}\n"))


def _one_line_end(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"


@pytest.mark.parametrize(
    "statement", [SELECT_BY_ID, SET_UNSUBSCRIBED, CANCEL_UNSENT], ids=["get", "unsubscribe", "cancel"]
)
def test_no_table_is_scanned(statement: str, where: dict[str, str], tmp_path: Path) -> None:
    installation = ForkingInstallation(tmp_path, **where)
    with installation.database() as database, database.connection.transaction():
        if where:
            database.connection.execute("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN" if where else "EXPLAIN QUERY PLAN"
        values = {name: 1 for name in ("recipient_id", "now") if f":{name}" in statement}
        plan = "\n".join(str(row) for row in database.connection.fetch_all(f"{explain} {statement}", **values))
    assert "Seq Scan" not in plan
    assert "SCAN" not in plan, plan


def test_without_public_url_no_message_has_a_link(tmp_path: Path) -> None:
    installation = ForkingInstallation(tmp_path)
    installation.add_recipients(1)
    installation.save_email(1)
    installation.task()
    (message,) = installation.messages()
    assert (message["List-Unsubscribe"], message.get_content()) == (None, "Content\n")


def test_a_large_body_or_none_at_all_is_no_way_to_hold_the_service(tmp_path: Path, free_port: int) -> None:
    installation = ForkingInstallation(tmp_path, PUBLIC_URL=PUBLIC)
    installation.add_recipients(1)
    installation.save_email(1)
    installation.task()
    path = path_of(file_to(installation, "r0@example.com"))
    with web_server(installation, free_port) as server:
        head = f"POST {path} HTTP/1.1\r\nHost: mail.example.com\r\nConnection: close\r\n".encode()
        for body in (b"Content-Length: 1000000\r\n\r\nList-", b"Transfer-Encoding: chunked\r\n\r\n5\r\nList-", b"\r\n"):
            assert server.raw(head + body).startswith(b"HTTP/1.1 200 ")
        assert one_click(server, path).status == 200
    assert statuses_shown(installation) == ["unsubscribed"]
