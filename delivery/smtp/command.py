"""Values -> bytes for the server (RFC 5321, 1870, 6152, 6531, 4954).

Everything that comes from outside passes `path` or `line`: nothing below 0x20 and no 0x7F gets into a command,
nothing leaves the angle brackets of a path, and nothing is longer than what a server must take.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache

from delivery.address import header_address
from delivery.smtp.errors import UnfitValueError

DATA = b"DATA\r\n"
RSET = b"RSET\r\n"
QUIT = b"QUIT\r\n"
STARTTLS = b"STARTTLS\r\n"
LONE_DOT = b".\r\n"

LONGEST_PATH = 254  # 256 with its brackets (RFC 5321 section 4.5.3.1)
LONGEST_LOCAL = 64


class Step(IntEnum):
    """What can be waited for. Integers, since members are dictionary keys for every message."""

    CONNECT = 1
    TLS = 2
    GREETING = 3
    EHLO = 4
    STARTTLS = 5
    AUTH = 6
    AUTH_USER = 7
    AUTH_PASSWORD = 8
    RSET = 9
    MAIL = 10
    RCPT = 11
    DATA = 12
    BLOCK = 13  # the content is still on its way to the server
    CONTENT = 14  # the content ended with its dot
    LONE_DOT = 15
    QUIT = 16


# Seconds for each: RFC 5321 section 4.5.3.2 where it names one. A deadline for the whole answer, not per read.
LIMITS: Mapping[Step, float] = {
    Step.CONNECT: 30,
    Step.TLS: 60,
    Step.GREETING: 300,
    Step.EHLO: 300,
    Step.STARTTLS: 120,
    Step.AUTH: 120,
    Step.AUTH_USER: 120,
    Step.AUTH_PASSWORD: 120,
    Step.RSET: 60,
    Step.MAIL: 300,
    Step.RCPT: 300,
    Step.DATA: 120,
    Step.BLOCK: 180,
    Step.CONTENT: 600,
    Step.LONE_DOT: 120,
    Step.QUIT: 3,
}


def line(text: str, limit: int = 512) -> bytes:
    """One command line of ASCII; refuses control characters and lines of more than `limit` octets."""
    if not (text.isascii() and text.isprintable()) or len(text) + 2 > limit:
        raise UnfitValueError("a command with characters or a length that SMTP does not allow")
    return text.encode("ascii") + b"\r\n"


def ehlo(hostname: str) -> bytes:
    """EHLO with the name, or the address literal, that we go by."""
    return line(f"EHLO {hostname}")


def path(address: str, *, utf8: bool) -> bytes:
    """The octets between the angle brackets; `utf8`: whether the server takes non-ASCII local parts."""
    octets = header_address(address)
    if not (utf8 or octets.isascii()):
        raise UnfitValueError("the server takes no addresses with non-ASCII characters (it offers no SMTPUTF8)")
    if len(octets) > LONGEST_LOCAL and (len(octets) > LONGEST_PATH or octets.rfind(b"@") > LONGEST_LOCAL):
        raise UnfitValueError("the address is longer than SMTP allows")
    return octets


def envelope(sender: str, recipient: str, size: int | None, *, eight_bit: bool, utf8: bool) -> bytes:
    """MAIL, RCPT and DATA, three lines, with the parameters that the server takes; `utf8`: whether SMTPUTF8."""
    octets = path(recipient, utf8=utf8)
    template = _template(sender, size is not None, eight_bit, not octets.isascii())
    return template % octets if size is None else template % (size, octets)


@lru_cache(maxsize=16)  # few senders, many recipients
def _template(sender: str, sized: bool, eight_bit: bool, utf8: bool) -> bytes:
    sender_path = path(sender, utf8=utf8).replace(b"%", b"%%")
    parameters = b" SIZE=%d" * sized + b" BODY=8BITMIME" * eight_bit + b" SMTPUTF8" * utf8
    return b"MAIL FROM:<" + sender_path + b">" + parameters + b"\r\nRCPT TO:<%b>\r\n" + DATA


def auth_plain(user: str, password: str) -> bytes:
    """AUTH PLAIN with its initial response (RFC 4616)."""
    return line(f"AUTH PLAIN {_base64(f'{chr(0)}{user}{chr(0)}{password}')}", limit=12288)


def auth_login() -> bytes:
    """AUTH LOGIN; the server asks for user and password then."""
    return b"AUTH LOGIN\r\n"


def auth_answer(value: str) -> bytes:
    """One answer within AUTH LOGIN."""
    return line(_base64(value), limit=12288)


def _base64(value: str) -> str:
    return b64encode(value.encode("utf-8")).decode("ascii")
