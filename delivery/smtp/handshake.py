"""From the greeting to the first MAIL: EHLO, STARTTLS and EHLO again, AUTH.

Every refusal here speaks of the session, never of a message, and so raises Refused. With STARTTLS demanded
nothing but EHLO and STARTTLS is said in the clear; a password goes out only under TLS or to this same host.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from delivery.smtp import command
from delivery.smtp.command import Step
from delivery.smtp.errors import ProtocolError, SMTPError
from delivery.smtp.reply import Reply


class Refused(SMTPError):
    """The server will not have this session. `final`: another connection would be told the same (a password)."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.final = final


class Offers(NamedTuple):
    """What the server announced in its answer to EHLO."""

    pipelining: bool = False
    eight_bit: bool = False
    utf8: bool = False
    starttls: bool = False
    size: int | None = None  # None: no SIZE; 0: SIZE without a bound
    auth: frozenset[str] = frozenset()

    @classmethod
    def read(cls, reply: Reply) -> Offers:
        """The keywords of an EHLO reply, whatever their case; unknown ones mean nothing."""
        words: dict[str, list[str]] = {}
        for line in reply.lines[1:]:
            # "AUTH=LOGIN" is how servers said it before RFC 4954.
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
    """What AUTH needs. Its text shows no password."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"


Command = tuple[Step, bytes]


class Opening:
    """Says what to send next until the session is open."""

    __slots__ = ("_login", "_protected", "_want_starttls", "hostname", "offers")

    def __init__(self, hostname: str, *, starttls: bool, login: Login | None, protected: bool) -> None:
        self.hostname = hostname
        self.offers = Offers()
        self._want_starttls = starttls
        self._login = login
        self._protected = protected  # TLS, or the server is this same host

    def after(self, step: Step, reply: Reply) -> Command | None:
        """The command that follows this reply; None: nothing, the session is open or TLS begins."""
        return _AFTER[step](self, reply)

    def tls_started(self) -> Command:
        """Under TLS everything said before is forgotten: EHLO again."""
        self.offers = Offers()
        self._want_starttls = False
        self._protected = True
        return self._ehlo()

    def _ehlo(self) -> Command:
        return Step.EHLO, command.ehlo(self.hostname)

    def _greeted(self, reply: Reply) -> Command:
        _demand(2, reply)
        return self._ehlo()

    def _offered(self, reply: Reply) -> Command | None:
        _demand(2, reply)
        self.offers = Offers.read(reply)
        if not self._want_starttls:
            return self._log_in()
        if not self.offers.starttls:
            raise Refused("the server offers no STARTTLS: nothing was sent to it in the clear")
        return Step.STARTTLS, command.STARTTLS

    def _tls_promised(self, reply: Reply) -> None:
        _demand(2, reply)

    def _log_in(self) -> Command | None:
        if self._login is None:
            return None
        if not self._protected:
            raise Refused("a password goes out only under TLS (smtp+tls:// or smtp+ssl://)", final=True)
        if "PLAIN" in self.offers.auth:
            return Step.AUTH, command.auth_plain(*self._login)
        if "LOGIN" in self.offers.auth:
            return Step.AUTH_USER, command.auth_login()
        raise Refused("the server offers neither AUTH PLAIN nor AUTH LOGIN", final=True)

    def _user_asked(self, reply: Reply) -> Command:
        _demand(3, reply, final=True)
        return Step.AUTH_PASSWORD, command.auth_answer(self._login.user if self._login else "")

    def _password_asked(self, reply: Reply) -> Command:
        _demand(3, reply, final=True)
        return Step.AUTH, command.auth_answer(self._login.password if self._login else "")

    def _logged_in(self, reply: Reply) -> None:
        if reply.code // 100 == 3:
            raise ProtocolError(f"the login does not end: {reply.text}")
        _demand(2, reply, final=True)


def _demand(digit: int, reply: Reply, *, final: bool = False) -> None:
    if reply.code // 100 != digit:
        raise Refused(reply.text, final=final and reply.code >= 500)


_AFTER: dict[Step, Callable[[Opening, Reply], Command | None]] = {
    Step.GREETING: Opening._greeted,
    Step.EHLO: Opening._offered,
    Step.STARTTLS: Opening._tls_promised,
    Step.AUTH_USER: Opening._user_asked,
    Step.AUTH_PASSWORD: Opening._password_asked,
    Step.AUTH: Opening._logged_in,
}
