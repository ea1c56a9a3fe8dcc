"""sender/single_send.py: one message is sent to one address immediately, and the result is reported in time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from database import Email
from sender import single_send
from sender.outgoing import unsubscribe_links
from sender.single_send import SingleSend, send_single, single_message
from tests.support.installation import Installation
from tests.support.ports import unused_port
from tests.support.servers.smtp_server import SILENCE, Close, Handler, ScriptedServer

EMAIL = Email(7, "Größe 日本", "Hello 😀\n.\n", datetime(2030, 1, 2, tzinfo=UTC))
ADDRESS = "me@example.com"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(single_send, "TOTAL_TIMEOUT_SECONDS", 1.5)
    monkeypatch.setattr(single_send, "STEP_TIMEOUT_SECONDS", 0.7)


def tried(folder: Path, **on: Handler) -> tuple[SingleSend, ScriptedServer]:
    with ScriptedServer(on=on) as server:
        return tried_from(Installation(folder, EMAIL_URL=f"smtp://127.0.0.1:{server.port}")), server


def tried_from(installation: Installation, address: str = ADDRESS) -> SingleSend:
    with installation.database() as database:
        message = single_message(installation.settings, database, EMAIL)
    return send_single(installation.settings, message, address)


def test_the_message_is_the_one_that_recipients_get(tmp_path: Path) -> None:
    result, server = tried(tmp_path)
    assert result == SingleSend("sent", "250 2.0.0 Ok: queued")
    (accepted,) = server.accepted
    assert accepted.recipient == b"me@example.com"
    assert b"\r\nSubject: =?" in accepted.content
    assert accepted.content.endswith("\r\n\r\nHello 😀\r\n..".encode())


def test_two_single_sends_are_two_messages(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    for _ in range(2):
        assert tried_from(installation).result == "sent"
    assert installation.delivered() == {(EMAIL.subject, ADDRESS): 2}
    assert len({message["Message-ID"] for message in installation.messages()}) == 2


def test_the_database_knows_nothing_of_it_and_its_link_unsubscribes_nobody(tmp_path: Path) -> None:
    installation = Installation(tmp_path, PUBLIC_URL="https://mail.example.com")
    installation.add_recipients(1)
    result = tried_from(installation, "r0@example.com")
    assert result.result == "sent" and result.reply.startswith("saved as ")
    with installation.database() as database:
        links = unsubscribe_links(installation.settings, database, EMAIL.event_id)
        assert database.emails.get(7) is None and installation.statuses() == {}
    (message,) = installation.messages()
    token = str(message["List-Unsubscribe"]).rpartition("/")[2].rstrip(">")
    assert links is not None and token.encode() == links.token(single_send.NO_RECIPIENT_ID)


@pytest.mark.parametrize(
    ("verb", "reply", "result"),
    [
        ("RCPT", "550 5.1.1 no such mailbox", "failed"),
        ("RCPT", "450 4.2.1 come later", "deferred"),
        ("CONTENT", "554 5.7.1 spam", "failed"),
        ("CONNECT", "554 5.3.2 not you", "refused"),
        ("MAIL", "550 5.7.1 not this sender", "refused"),
    ],
)
def test_what_the_server_replies_is_reported(tmp_path: Path, verb: str, reply: str, result: str) -> None:
    became, server = tried(tmp_path, **{verb: lambda line, n: reply})
    assert became.result == result and reply in became.reply
    assert server.accepted == []


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("verb", "result"),
    [("CONNECT", "refused"), ("EHLO", "refused"), ("RCPT", "deferred"), ("CONTENT", "in_doubt"), ("QUIT", "sent")],
)
def test_a_server_that_falls_silent_holds_nobody_up(tmp_path: Path, verb: str, result: str) -> None:
    began = time.monotonic()
    assert tried(tmp_path, **{verb: lambda line, n: SILENCE})[0].result == result
    assert time.monotonic() - began < 30


@pytest.mark.usefixtures("quick")
def test_a_server_that_is_slow_at_every_step_is_left_in_time(tmp_path: Path) -> None:
    def slowly(line: bytes, n: int) -> str:
        time.sleep(0.5)
        return "250 ok"

    began = time.monotonic()
    result, _ = tried(tmp_path, **dict.fromkeys(("EHLO", "MAIL", "RCPT", "DATA"), slowly))
    assert result.result in ("unanswered", "deferred"), result
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("verb", ["CONNECT", "MAIL", "CONTENT"])
def test_a_server_that_hangs_up_is_reported(tmp_path: Path, verb: str) -> None:
    assert tried(tmp_path, **{verb: lambda line, n: Close()})[0].result != "sent"


def test_a_server_that_is_down_is_reported(tmp_path: Path) -> None:
    port = unused_port()
    assert tried_from(Installation(tmp_path, EMAIL_URL=f"smtp://127.0.0.1:{port}")).result == "refused"


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("in the way")
    result = tried_from(Installation(tmp_path))
    assert result.result == "refused" and "cannot write to the Maildir" in result.reply
