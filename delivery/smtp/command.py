"""Values -> bytes for the server (RFC 5321, 1870, 6152, 6531, 4954).

Everything that comes from outside passes `line`, or `header_address` and a look at its length: nothing below 0x20
and no 0x7F gets into a command, nothing leaves the angle brackets of a path, and nothing is longer than what a
server must take.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from enum import IntEnum

from delivery.message.address import header_address
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


class EnvelopeCommands:
    """MAIL, RCPT and DATA with the parameters that one server takes: SIZE (RFC 1870), 8BITMIME, SMTPUTF8."""

    __slots__ = ("_eight_bit", "_largest", "_sized", "_templates", "_utf8")

    def __init__(self, largest: int | None = None, *, eight_bit: bool = False, utf8: bool = False) -> None:
        """`largest`: what was announced with SIZE, 0 for no bound; None: no SIZE."""
        self._sized = largest is not None
        self._largest = largest or float("inf")
        self._eight_bit = eight_bit
        self._utf8 = utf8
        self._templates: dict[tuple[str, bool, bool], bytes] = {}  # few senders, many recipients

    def lines(self, sender: str, recipient: str, content: bytes) -> bytes:
        """The three lines before `content` with its final dot. UnfitValueError: the server would not take it."""
        size = len(content) - len(LONE_DOT)  # with its stuffed dots: hardly more than the message has
        if size > self._largest:
            raise UnfitValueError(f"the message has {size} octets, the server takes {self._largest}")
        octets = header_address(recipient)
        utf8 = not octets.isascii()
        if utf8 or len(octets) > LONGEST_LOCAL:
            self._check(octets)
        key = sender, self._eight_bit and not content.isascii(), utf8
        template = self._templates.get(key) or self._new_template(*key)
        return template % (size, octets) if self._sized else template % octets

    def _check(self, path: bytes) -> None:
        if not (self._utf8 or path.isascii()):
            raise UnfitValueError("the server takes no addresses with non-ASCII characters (it offers no SMTPUTF8)")
        if len(path) > LONGEST_PATH or path.rfind(b"@") > LONGEST_LOCAL:
            raise UnfitValueError("the address is longer than SMTP allows")

    def _new_template(self, sender: str, eight_bit: bool, utf8: bool) -> bytes:
        path = header_address(sender)
        self._check(path)
        parameters = b" SIZE=%d" * self._sized + b" BODY=8BITMIME" * eight_bit + b" SMTPUTF8" * utf8
        template = b"MAIL FROM:<" + path.replace(b"%", b"%%") + b">" + parameters + b"\r\nRCPT TO:<%b>\r\n" + DATA
        self._templates[sender, eight_bit, utf8] = template
        return template


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
