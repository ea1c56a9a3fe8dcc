"""From the greeting to the first MAIL: EHLO, STARTTLS and EHLO again, AUTH.

Every refusal here is about the session, never about a message, and so raises SessionRefused. If STARTTLS is required,
only EHLO and STARTTLS are sent in the clear. A password is sent only under TLS, or to this same host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from delivery.smtp import command
from delivery.smtp.command import Step
from delivery.smtp.errors import ProtocolError, SMTPError
from delivery.smtp.reply import Reply


class SessionRefused(SMTPError):
    """The server refused the session. `final`: it would refuse another one as well (a wrong password)."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Capabilities(NamedTuple):
    """What the server announced in its reply to EHLO."""

    pipelining: bool = False
    eight_bit: bool = False
    utf8: bool = False
    starttls: bool = False
    size: int | None = None  # None: no SIZE; 0: SIZE without a limit
    auth: frozenset[str] = frozenset()

    @classmethod
    def parse(cls, reply: Reply) -> Capabilities:
        """Read the keywords of an EHLO reply, in any case; unknown ones are ignored."""
        words: dict[str, list[str]] = {}
        for line in reply.lines[1:]:
            # Servers wrote "AUTH=LOGIN" before RFC 4954.
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
    """What AUTH needs. Its repr does not show the password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"


Command = tuple[Step, bytes]


class Handshake:
    """Decides what to send next until the session is open."""

    __slots__ = ("_login", "_needs_starttls", "_protected", "capabilities", "hostname")

    def __init__(self, hostname: str, *, starttls: bool, login: Login | None, protected: bool) -> None:
        self.hostname = hostname
        self.capabilities = Capabilities()
        self._needs_starttls = starttls
        self._login = login
        self._protected = protected  # TLS, or the server is this same host

    def next_command(self, step: Step, reply: Reply) -> Command | None:
        """Return the command that follows this reply; None if the session is open, or if TLS starts now."""
        return _REPLY_HANDLERS[step](self, reply)

    def tls_started(self) -> Command:
        """Forget everything the server said before TLS, and return EHLO."""
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
        _require(2, reply)
        self.capabilities = Capabilities.parse(reply)
        if not self._needs_starttls:
            return self._log_in()
        if not self.capabilities.starttls:
            raise SessionRefused("the server offers no STARTTLS: nothing was sent to it in the clear")
        return Step.STARTTLS, command.STARTTLS

    def _on_starttls(self, reply: Reply) -> None:
        _require(2, reply)

    def _log_in(self) -> Command | None:
        if self._login is None:
            return None
        if not self._protected:
            raise SessionRefused("a password goes out only under TLS (smtp+tls:// or smtp+ssl://)", final=True)
        if "PLAIN" in self.capabilities.auth:
            return Step.AUTH, command.auth_plain(*self._login)
        if "LOGIN" in self.capabilities.auth:
            return Step.AUTH_USER, command.auth_login()
        raise SessionRefused("the server offers neither AUTH PLAIN nor AUTH LOGIN", final=True)

    def _on_auth_user(self, reply: Reply) -> Command:
        _require(3, reply, final=True)
        return Step.AUTH_PASSWORD, command.auth_answer(self._login.user if self._login else "")

    def _on_auth_password(self, reply: Reply) -> Command:
        _require(3, reply, final=True)
        return Step.AUTH, command.auth_answer(self._login.password if self._login else "")

    def _on_auth(self, reply: Reply) -> None:
        if reply.code // 100 == 3:
            raise ProtocolError(f"the login does not end: {reply.text}")
        _require(2, reply, final=True)


def _require(digit: int, reply: Reply, *, final: bool = False) -> None:
    if reply.code // 100 != digit:
        raise SessionRefused(reply.text, final=final and reply.code >= 500)


_REPLY_HANDLERS: dict[Step, Callable[[Handshake, Reply], Command | None]] = {
    Step.GREETING: Handshake._on_greeting,
    Step.EHLO: Handshake._on_ehlo,
    Step.STARTTLS: Handshake._on_starttls,
    Step.AUTH_USER: Handshake._on_auth_user,
    Step.AUTH_PASSWORD: Handshake._on_auth_password,
    Step.AUTH: Handshake._on_auth,
}
