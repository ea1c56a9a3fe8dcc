"""The handshake, from the greeting to the first MAIL: EHLO, STARTTLS and EHLO again, AUTH.

Every refusal here is about the session, never about a message, so it raises SessionRefused. If STARTTLS is required,
only EHLO and STARTTLS are sent unencrypted. A password is sent only over TLS or to this same host.

A server that does not support EHLO gets HELO, unless STARTTLS or a login is required (RFC 5321, section 3.2). If the
server permanently refuses one AUTH mechanism, the others that it offers are tried once each (RFC 4954, section 4). If
all of them fail, the first refusal is the reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from delivery.smtp import command
from delivery.smtp.command import Step
from delivery.smtp.errors import ProtocolError, SMTPError
from delivery.smtp.reply import Reply

EHLO_UNKNOWN = frozenset({500, 501, 502, 504})  # not recognised or not implemented (RFC 5321, section 4.2.4)
MECHANISMS = ("PLAIN", "LOGIN")


class SessionRefused(SMTPError):
    """The server refused the session. `final`: it would refuse another one too, as with a wrong password."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Capabilities(NamedTuple):
    """The extensions that the server announced in its reply to EHLO."""

    pipelining: bool = False
    eight_bit: bool = False
    utf8: bool = False
    starttls: bool = False
    size: int | None = None  # None: no SIZE; 0: SIZE without a limit
    auth: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, reply: Reply) -> Capabilities:
        """Parse the keywords of an EHLO reply. Case does not matter; unknown keywords are ignored."""
        words: dict[str, list[str]] = {}
        for line in reply.lines[1:]:
            # Before RFC 4954, servers wrote "AUTH=LOGIN".
            keyword, *values = line.upper().replace("AUTH=", "AUTH ", 1).split() or [""]
            words.setdefault(keyword, []).extend(values)
        size = next((word for word in words.get("SIZE", []) if word.isascii() and word.isdigit()), "0")
        return cls(
            pipelining="PIPELINING" in words,
            eight_bit="8BITMIME" in words,
            utf8="SMTPUTF8" in words and "8BITMIME" in words,
            starttls="STARTTLS" in words,
            size=int(size[:19]) if "SIZE" in words else None,
            auth=frozenset(words.get("AUTH", [])),
        )


class Login(NamedTuple):
    """The credentials for AUTH. The repr does not show the password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"


Command = tuple[Step, bytes]


class Handshake:
    """Decides what to send next until the session is open."""

    __slots__ = (
        "_answers",
        "_login",
        "_mechanisms",
        "_needs_starttls",
        "_protected",
        "_starttls",
        "capabilities",
        "hostname",
        "refusal",
    )

    def __init__(self, hostname: str, *, starttls: bool, login: Login | None, protected: bool) -> None:
        self.hostname = hostname
        self.capabilities = Capabilities()
        self.refusal: SessionRefused | None = None  # of EHLO or the first mechanism, while alternatives are tried
        self._starttls = self._needs_starttls = starttls
        self._login = login
        self._protected = protected  # over TLS, or the server is this same host
        self._mechanisms: list[str] = []  # AUTH mechanisms still to be tried
        self._answers: list[bytes] = []  # the responses to the next 334 replies

    def next_command(self, step: Step, reply: Reply) -> Command | None:
        """Return the command that follows this reply, or None if the session is open or TLS starts now.

        Raises SessionRefused or ProtocolError.
        """
        return _REPLY_HANDLERS[step](self, reply)

    def tls_started(self) -> Command:
        """Forget what the server announced before TLS, and return EHLO (RFC 3207, section 4.2)."""
        self.capabilities = Capabilities()
        self._needs_starttls = False
        self._protected = True
        return self._ehlo()

    def _ehlo(self) -> Command:
        return Step.EHLO, command.ehlo(self.hostname)

    def _on_greeting(self, reply: Reply) -> Command:
        _require(2, reply)
        return self._ehlo()

    def _on_ehlo(self, reply: Reply) -> Command | None:
        if reply.code in EHLO_UNKNOWN and not self._starttls and self._login is None:
            self.refusal = SessionRefused(reply.text)
            return Step.HELO, command.helo(self.hostname)
        _require(2, reply)
        self.capabilities = Capabilities.parse(reply)
        if not self._needs_starttls:
            return self._log_in()
        if not self.capabilities.starttls:
            raise SessionRefused("the server does not offer STARTTLS; nothing was sent unencrypted")
        return Step.STARTTLS, command.STARTTLS

    def _on_helo(self, reply: Reply) -> None:
        if reply.code // 100 != 2:
            raise self.refusal or SessionRefused(reply.text)
        self.refusal = None

    def _on_starttls(self, reply: Reply) -> None:
        _require(2, reply)

    def _log_in(self) -> Command | None:
        if self._login is None:
            return None
        if not self._protected:
            raise SessionRefused("a password is only sent over TLS; use smtp+tls:// or smtp+ssl://", final=True)
        self._mechanisms = [mechanism for mechanism in MECHANISMS if mechanism in self.capabilities.auth]
        if not self._mechanisms:
            raise SessionRefused("the server offers neither AUTH PLAIN nor AUTH LOGIN", final=True)
        return self._try_next_mechanism(self._login)

    def _try_next_mechanism(self, login: Login) -> Command:
        first, *self._answers = command.auth(self._mechanisms.pop(0), *login)
        return Step.AUTH, first

    def _on_auth(self, reply: Reply) -> Command | None:
        if reply.code // 100 == 2:
            self.refusal = None
            return None
        if reply.code // 100 == 3:
            if not self._answers:
                raise ProtocolError(f"unexpected reply during login: {reply.text}")
            return Step.AUTH, self._answers.pop(0)
        self.refusal = self.refusal or SessionRefused(reply.text, final=reply.code >= 500)
        if reply.code < 500 or not self._mechanisms or self._login is None:
            raise self.refusal
        return self._try_next_mechanism(self._login)


def _require(digit: int, reply: Reply) -> None:
    if reply.code // 100 != digit:
        raise SessionRefused(reply.text)


_REPLY_HANDLERS: dict[Step, Callable[[Handshake, Reply], Command | None]] = {
    Step.GREETING: Handshake._on_greeting,
    Step.EHLO: Handshake._on_ehlo,
    Step.HELO: Handshake._on_helo,
    Step.STARTTLS: Handshake._on_starttls,
    Step.AUTH: Handshake._on_auth,
}
