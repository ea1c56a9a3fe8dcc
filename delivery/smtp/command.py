"""Values -> bytes for the server (RFC 5321, 1870, 6152, 6531, 4954).

Every value from outside passes through `line`, or through `header_address` and a check of its length. So a command
holds no octet below 0x20 and no 0x7F, nothing leaves the angle brackets of a path, and nothing is longer than what a
server must accept.
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

MAX_COMMAND_LENGTH = 512  # octets, with CR LF (RFC 5321 section 4.5.3.1)
MAX_AUTH_LENGTH = 12_288  # octets of an answer to 334 (RFC 4954 section 4)
MAX_PATH_LENGTH = 254  # octets; 256 with its brackets (RFC 5321 section 4.5.3.1)
MAX_LOCAL_PART_LENGTH = 64  # octets


class Step(IntEnum):
    """What a connection can be waiting for. Integers, since members are dictionary keys for every message."""

    CONNECT = 1
    TLS = 2
    GREETING = 3
    EHLO = 4
    STARTTLS = 5
    HELO = 6
    AUTH = 7  # the command, or an answer to 334
    RSET = 9
    MAIL = 10
    RCPT = 11
    DATA = 12
    BLOCK = 13  # the content is still being sent
    CONTENT = 14  # the content and its final dot were sent
    LONE_DOT = 15
    QUIT = 16


# Seconds for each: RFC 5321 section 4.5.3.2 where it names one. For the whole reply, not for each read.
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
    """Return one command line of printable ASCII. Raises UnsendableValueError, also above `limit` octets."""
    if not (text.isascii() and text.isprintable()) or len(text) + 2 > limit:
        raise UnsendableValueError("a command with characters or a length that SMTP does not allow")
    return text.encode("ascii") + b"\r\n"


def ehlo(hostname: str) -> bytes:
    """EHLO with this host's name or address literal."""
    return line(f"EHLO {hostname}")


def helo(hostname: str) -> bytes:
    """HELO, for a server that does not know EHLO."""
    return line(f"HELO {hostname}")


class EnvelopeCommands:
    """MAIL, RCPT and DATA with the parameters that one server supports: SIZE (RFC 1870), 8BITMIME, SMTPUTF8."""

    __slots__ = ("_declares_size", "_eight_bit", "_max_size", "_templates", "_utf8")

    def __init__(
        self, max_size: int | None = None, *, declares_size: bool = True, eight_bit: bool = False, utf8: bool = False
    ) -> None:
        """`max_size`: what the server announced with SIZE, 0 for no limit; None: it does not support SIZE."""
        self._declares_size = declares_size and max_size is not None
        self._max_size = max_size or float("inf")
        self._eight_bit = eight_bit
        self._utf8 = utf8
        self._templates: dict[tuple[str, bool, bool], bytes] = {}  # few senders, many recipients

    def lines(self, sender: str, recipient: str, content: bytes) -> bytes:
        """Return the three lines before `content`, which ends with its dot. Raises UnsendableValueError."""
        size = len(content) - len(LONE_DOT)  # with stuffed dots: hardly more than the size of the message
        if size > self._max_size:
            raise UnsendableValueError(f"the message has {size} octets, the server takes {self._max_size}")
        octets = header_address(recipient)
        utf8 = not octets.isascii()
        if utf8 or len(octets) > MAX_LOCAL_PART_LENGTH:
            self._check(octets)
        key = sender, self._eight_bit and not content.isascii(), utf8
        template = self._templates.get(key) or self._new_template(*key)
        return template % (size, octets) if self._declares_size else template % octets

    def _check(self, path: bytes) -> None:
        if not (self._utf8 or path.isascii()):
            raise UnsendableValueError(
                "the server takes no addresses with non-ASCII characters (it offers no SMTPUTF8)"
            )
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
    """Return the AUTH command of a mechanism (PLAIN, RFC 4616, or LOGIN), and the answers to each 334 after it.

    AUTH PLAIN has its answer as an initial response, too, unless the command would be too long.
    """
    if mechanism == "LOGIN":
        return [b"AUTH LOGIN\r\n", _answer(user), _answer(password)]
    answer = _answer(f"\0{user}\0{password}")
    command = b"AUTH PLAIN " + answer
    return [command if len(command) <= MAX_COMMAND_LENGTH else b"AUTH PLAIN\r\n", answer]


def _answer(value: str) -> bytes:
    return line(b64encode(value.encode("utf-8")).decode("ascii"), limit=MAX_AUTH_LENGTH)
