"""Unusual messages to unusual addresses arrive as they were written, over every transport."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

from intake.address import clean_address
from tests.support.installation import Installation
from tests.support.rendering import normalised, parsed, text_of
from tests.support.samples.messages import LETTERS, Letter

if TYPE_CHECKING:
    from tests.support.servers.postfix import Postfix

ADDRESSES = [
    "ann@example.com",
    "o'neil+tag=1/!#$%&*?^`{|}~@sub.example.com",
    "l" * 64 + "@" + ".".join(["d" * 60] * 3) + ".com",
    "anna@münchen.example",
    "anna@straße.example",
    "ann@[127.0.0.1]",
    '"ann lee"@example.com',
    '"a\\"b@c, <d>"@example.com',
    '".ann..lee."@example.com',
]
UNICODE_ADDRESSES = ["jörg@example.com", "用户@例子.example", "اب@example.com"]
WAYS = ["outbox", "smtp", "smtp+tls", "smtp+ssl", "old"]


class Sent(NamedTuple):
    """The messages that arrived, by sample and address."""

    way: str
    began: float
    files: dict[tuple[str, str], bytes]


@pytest.fixture(scope="module", params=WAYS)
def sent(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """Send all samples to all addresses in one sweep."""
    way, folder, began = request.param, tmp_path_factory.mktemp("sent"), time.time()
    if way == "outbox":
        return Sent(way, began, _send(Installation(folder), lambda: _files(folder / "outbox"), UNICODE_ADDRESSES))
    postfix: Postfix = request.getfixturevalue("running_postfix")
    postfix.forget()
    installation = Installation(folder, **postfix.environment(way))
    return Sent(way, began, _send(installation, postfix.received, UNICODE_ADDRESSES if way != "old" else []))


def _send(
    installation: Installation, received: Callable[[], list[bytes]], more_addresses: list[str]
) -> dict[tuple[str, str], bytes]:
    with installation.database() as database:
        database.recipients.add(map(clean_address, ADDRESSES + more_addresses), datetime.now(UTC))
    for event_id, (subject, content) in enumerate(LETTERS.values()):
        installation.save_email(event_id, subject=subject, content=content)
    swept = installation.task()
    assert swept.returncode == 0, swept.stderr
    assert sorted(map(int, installation.log())) == list(range(len(LETTERS)))
    return _sorted(received(), _expected(installation))


def _files(outbox: Path) -> list[bytes]:
    return [file.read_bytes() for file in (outbox / "new").iterdir()]


def _expected(installation: Installation) -> dict[bytes, tuple[str, str]]:
    """Return the sample and the address of each Message-ID."""
    names = list(LETTERS)
    with installation.database() as database:
        rows = database.connection.fetch_all(
            "SELECT token, recipient_id, event_id, deliveries.address FROM emails JOIN deliveries USING (event_id)"
        )
        return {f"<{token}.{number}@localhost>".encode(): (names[event], to) for token, number, event, to in rows}


def _sorted(files: list[bytes], expected: dict[bytes, tuple[str, str]]) -> dict[tuple[str, str], bytes]:
    """Return each file by sample and address. There is exactly one for each."""
    found = {expected[message_id]: octets for octets in files for message_id in _values(octets, b"Message-ID")}
    assert len(found) == len(expected) == len(files)
    return found


def _values(octets: bytes, name: bytes) -> list[bytes]:
    """Return the values of the header fields with this name."""
    start = name.lower() + b": "
    return [line[len(start) :] for line in _lines_of_header(octets) if line.lower().startswith(start)]


def _names(octets: bytes) -> list[bytes]:
    """Return the names of all header fields, in lower case."""
    return [line.partition(b":")[0].lower() for line in _lines_of_header(octets) if line[:1] not in b" \t"]


def _lines_of_header(octets: bytes) -> list[bytes]:
    return octets.partition(b"\n\n")[0].split(b"\n")


def _is_as_written(octets: bytes, letter: Letter) -> bool:
    message = parsed(octets)
    *_, shown = message.walk()
    same_content = text_of(shown).removesuffix("\n") == normalised(letter.content).removesuffix("\n")
    return message["Subject"] == letter.subject and same_content


def test_every_letter_arrives_as_it_was_written(sent: Sent) -> None:
    assert [key for key, octets in sent.files.items() if not _is_as_written(octets, LETTERS[key[0]])] == []


def test_html_and_nothing_else_is_sent_as_html(sent: Sent) -> None:
    html = {name for (name, _), octets in sent.files.items() if b"text/html; charset=utf-8" in octets}
    assert html == {"HTML with a doctype", "HTML without a doctype"}


def test_each_recipient_gets_its_own_copy_and_sees_only_itself(sent: Sent) -> None:
    for (_, address), octets in sent.files.items():
        assert _values(octets, b"Delivered-To") == _values(octets, b"To") == [address.encode()]
        assert not {b"cc", b"bcc", b"resent-to", b"resent-bcc"} & set(_names(octets))


def test_each_copy_has_the_fields_that_it_must_have_once(sent: Sent) -> None:
    for octets in sent.files.values():
        message = parsed(octets)
        assert sent.began - 1 <= message["Date"].datetime.timestamp() <= time.time()
        assert str(message["From"]) == "Email endpoint <no-reply@localhost>"
        assert _values(octets, b"Return-Path") == [b"<no-reply@localhost>"]
        counted = Counter(_names(octets))
        assert {counted[name] for name in (b"date", b"from", b"subject", b"message-id", b"mime-version")} == {1}


def test_lines_are_short_and_end_in_one_way_only(sent: Sent) -> None:
    for octets in sent.files.values():
        assert b"\r" not in octets
        assert max(map(len, octets.split(b"\n"))) <= 998


def test_only_an_old_server_gets_nothing_but_ascii(sent: Sent) -> None:
    assert all(octets.isascii() for octets in sent.files.values()) is (sent.way == "old")


def test_a_unicode_address_fails_alone_where_the_server_takes_none(tmp_path: Path, postfix: Postfix) -> None:
    installation = Installation(tmp_path, **postfix.environment("old"))
    names = ("ann@example.com", "jörg@example.com", "anna@münchen.example")
    with installation.database() as database:
        database.recipients.add(map(clean_address, names), datetime.now(UTC))
    installation.save_email(1)
    (error,) = installation.task().stderr.splitlines()
    assert error.startswith("ERROR 1 jörg@example.com: failed: ")
    assert "SMTPUTF8" in error
    reached = sorted(to for octets in postfix.received() for to in _values(octets, b"To"))
    assert reached == [b"ann@example.com", b"anna@xn--mnchen-3ya.example"]
