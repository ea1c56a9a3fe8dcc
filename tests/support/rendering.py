"""Messages as a strict server and a parser read them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage, MIMEPart
from email.utils import parseaddr

from delivery.message.message import Message

AT = 1_764_000_000.5  # Mon, 24 Nov 2025 16:00:00 UTC


def message(
    subject: str = "Hello", content: str = "Hello\n", *, kind: type[Message] = Message, **changed: object
) -> Message:
    values: dict[str, object] = {
        "event_id": 7,
        "sender_name": "Email endpoint",
        "sender_address": "no-reply@example.com",
        "reply_to": None,
        "token": "T0ken",
        "ready_at": 1_764_000_000,
    }
    return kind(subject=subject, content=content, **{**values, **changed})  # type: ignore[arg-type]


def rendered(email: Message, address: str = "ann@example.org") -> Iterator[bytes]:
    """Yield the message in 8-bit and 7-bit form, after the checks that a strict server would make."""
    for eight_bit in (True, False):
        octets = email.as_bytes(address, 5, AT, eight_bit=eight_bit)
        data = email.smtp_data(address, 5, AT, eight_bit=eight_bit)
        assert unstuffed(data) == octets
        assert len(octets) <= email.size
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", octets)
        assert all(len(line) <= 998 for line in octets.split(b"\r\n"))
        assert eight_bit or octets.isascii() or not address.isascii()
        yield octets


def unstuffed(data: bytes) -> bytes:
    """Return the data without dot-stuffing. Fail if a line would end the message early."""
    assert data.endswith(b"\r\n.\r\n")
    lines = data.removesuffix(b".\r\n").split(b"\r\n")
    assert b"." not in lines
    return b"\r\n".join(line.removeprefix(b".") for line in lines)


def parsed(octets: bytes) -> EmailMessage:
    email = message_from_bytes(octets, policy=policy.default)
    assert not email.defects
    return email


def sender_of(octets: bytes) -> tuple[str, str]:
    """Return the name and address in From. Before 3.13, `policy.default` keeps spaces between encoded words."""
    name, address = parseaddr(message_from_bytes(octets, policy=policy.compat32)["From"])
    return str(make_header(decode_header(name))), address


def text_of(part: MIMEPart) -> str:
    return str(part.get_content()).replace("\r\n", "\n")


def normalised(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def assert_same_text(part: MIMEPart, content: str) -> None:
    assert text_of(part).removesuffix("\n") == normalised(content).removesuffix("\n")


def header_lines(octets: bytes) -> list[bytes]:
    return octets.partition(b"\r\n\r\n")[0].split(b"\r\n")


def list_of(octets: bytes) -> tuple[str, str]:
    """Return the name and the identifier in List-Id."""
    phrase, identifier = parseaddr(message_from_bytes(octets, policy=policy.compat32)["List-Id"])
    return str(make_header(decode_header(phrase))), identifier
