"""Build the commands sent to the server (RFC 5321, 1870, 6152, 6531, 4954).

Every external value passes through `line`, or through `header_address` and a length check. Therefore no command
contains an octet below 0x20 or the octet 0x7F, nothing can break out of the angle brackets of a path, and nothing is
longer than a server must accept.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from enum import IntEnum

from delivery.message.address import header_address
from delivery.smtp.errors import UnsendableValueError

DATA = b"DATA\r\n"
RSET = b"RSET\r\n"
QUIT = b"QUIT\r\n"
STARTTLS = b"STARTTLS\r\n"
LONE_DOT = b".\r\n"

MAX_COMMAND_LENGTH = 512  # octets, including CRLF (RFC 5321, section 4.5.3.1)
MAX_AUTH_LENGTH = 12_288  # octets of a response to 334 (RFC 4954, section 4)
MAX_PATH_LENGTH = 254  # octets; 256 with its brackets (RFC 5321, section 4.5.3.1)
MAX_LOCAL_PART_LENGTH = 64  # octets


class Step(IntEnum):
    """What a connection can be waiting for. Integers hash faster, and every message uses steps as dictionary keys."""

    CONNECT = 1
    TLS = 2
    GREETING = 3
    EHLO = 4
    STARTTLS = 5
    HELO = 6
    AUTH = 7  # the command, or a response to 334
    RSET = 9
    MAIL = 10
    RCPT = 11
    DATA = 12
    BLOCK = 13  # the content is still being sent
    CONTENT = 14  # the content and its final dot were sent
    LONE_DOT = 15
    QUIT = 16


# In seconds, from RFC 5321, section 4.5.3.2 where it specifies one. They apply to the whole reply, not to each read.
STEP_TIMEOUTS: Mapping[Step, float] = {
    Step.CONNECT: 30,
    Step.TLS: 60,
    Step.GREETING: 300,
    Step.EHLO: 300,
    Step.STARTTLS: 120,
    Step.HELO: 300,
    Step.AUTH: 120,
    Step.RSET: 60,
    Step.MAIL: 300,
    Step.RCPT: 300,
    Step.DATA: 120,
    Step.BLOCK: 180,
    Step.CONTENT: 600,
    Step.LONE_DOT: 120,
    Step.QUIT: 3,
}


def line(text: str, limit: int = MAX_COMMAND_LENGTH) -> bytes:
    """Return one command line. Raises UnsendableValueError unless it is printable ASCII of at most `limit` octets."""
    if not (text.isascii() and text.isprintable()) or len(text) + 2 > limit:
        raise UnsendableValueError("the command is too long or contains characters that SMTP does not allow")
    return text.encode("ascii") + b"\r\n"


def ehlo(hostname: str) -> bytes:
    """Return EHLO with this host's name or address literal."""
    return line(f"EHLO {hostname}")


def helo(hostname: str) -> bytes:
    """Return HELO, for a server that does not support EHLO."""
    return line(f"HELO {hostname}")


class EnvelopeCommands:
    """MAIL, RCPT and DATA with the parameters that one server supports: SIZE (RFC 1870), 8BITMIME, SMTPUTF8."""

    __slots__ = ("_declares_size", "_eight_bit", "_max_size", "_templates", "_utf8")

    def __init__(
        self, max_size: int | None = None, *, declares_size: bool = True, eight_bit: bool = False, utf8: bool = False
    ) -> None:
        """`max_size` is the limit announced with SIZE, 0 if there is none, or None if SIZE is not supported."""
        self._declares_size = declares_size and max_size is not None
        self._max_size = max_size or float("inf")
        self._eight_bit = eight_bit
        self._utf8 = utf8
        self._templates: dict[tuple[str, bool, bool], bytes] = {}  # there are few sender addresses

    def lines(self, sender: str, recipient: str, content: bytes) -> bytes:
        """Return MAIL, RCPT and DATA for `content`, which ends with its final dot. Raises UnsendableValueError."""
        size = len(content) - len(LONE_DOT)  # includes stuffed dots, so it is slightly too large
        if size > self._max_size:
            raise UnsendableValueError(f"the message has {size} bytes; the server accepts at most {self._max_size}")
        octets = header_address(recipient)
        utf8 = not octets.isascii()
        if utf8 or len(octets) > MAX_LOCAL_PART_LENGTH:
            self._check(octets)
        key = sender, self._eight_bit and not content.isascii(), utf8
        template = self._templates.get(key) or self._new_template(*key)
        return template % (size, octets) if self._declares_size else template % octets

    def _check(self, path: bytes) -> None:
        if not (self._utf8 or path.isascii()):
            raise UnsendableValueError("the server does not accept non-ASCII addresses (no SMTPUTF8)")
        if len(path) > MAX_PATH_LENGTH or path.rfind(b"@") > MAX_LOCAL_PART_LENGTH:
            raise UnsendableValueError("the address is longer than SMTP allows")

    def _new_template(self, sender: str, eight_bit: bool, utf8: bool) -> bytes:
        path = header_address(sender)
        self._check(path)
        parameters = b" SIZE=%d" * self._declares_size + b" BODY=8BITMIME" * eight_bit + b" SMTPUTF8" * utf8
        template = b"MAIL FROM:<" + path.replace(b"%", b"%%") + b">" + parameters + b"\r\nRCPT TO:<%b>\r\n" + DATA
        self._templates[sender, eight_bit, utf8] = template
        return template


def auth(mechanism: str, user: str, password: str) -> list[bytes]:
    """Return the AUTH command of a mechanism (PLAIN, RFC 4616, or LOGIN), then the response to each 334 after it.

    AUTH PLAIN also includes its response as an initial response, unless the command would be too long.
    """
    if mechanism == "LOGIN":
        return [b"AUTH LOGIN\r\n", _answer(user), _answer(password)]
    answer = _answer(f"\0{user}\0{password}")
    command = b"AUTH PLAIN " + answer
    return [command if len(command) <= MAX_COMMAND_LENGTH else b"AUTH PLAIN\r\n", answer]


def _answer(value: str) -> bytes:
    return line(b64encode(value.encode("utf-8")).decode("ascii"), limit=MAX_AUTH_LENGTH)
