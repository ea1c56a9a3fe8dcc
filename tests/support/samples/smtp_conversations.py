"""Drive an SMTP session in memory against a scripted peer, with the replies split in any way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from delivery.interface import Envelope, Kind
from delivery.smtp.errors import ProtocolError
from delivery.smtp.handshake import Handshake, Login
from delivery.smtp.session import Session
from delivery.smtp.state import PipeliningMode, State
from tests.support.servers.fake_queue import envelope
from tests.support.servers.smtp_server import Close, Peer, Reset, Script, StartTLS, octets

AT = 1_700_000_000.0


def new_session(
    mode: PipeliningMode = PipeliningMode.ACROSS_MESSAGES, login: Login | None = None, starttls: bool = False
) -> Session:
    return Session(Handshake("client.example", starttls=starttls, login=login, protected=True), mode)


def content_of(item: Envelope, session: Session) -> bytes:
    return item.message.smtp_data(item.address, item.recipient_id, AT, eight_bit=session.capabilities.eight_bit)


class Result(NamedTuple):
    kinds: list[tuple[str, Kind]]
    replies: list[str]
    returned: list[str]
    session: Session
    peer: Peer
    read: int


class Owner:
    """A minimal version of what the sender does with one session."""

    def __init__(self, session: Session, script: Script, todo: list[Envelope]) -> None:
        self.session = session
        self.peer = Peer(script)
        self.todo = list(todo)
        self.incoming = bytearray()
        self.eof: str | None = None  # how the peer closed the connection
        self.read = 0
        self._take(self.peer.greet())

    def run(self, cuts: Callable[[int], int], stop_after: int | None = None) -> Result:
        """Run to the end. `cuts` maps the number of bytes read so far to the number to read next."""
        while self.session.state is not State.CLOSED:
            self._write()
            if not self.incoming:
                if self.eof or not self.session.pending:
                    break
                raise AssertionError(f"both wait: {self.session.state!r}")
            size = max(1, cuts(self.read))
            if stop_after is not None:
                size = min(size, stop_after - self.read)
                if size <= 0:
                    break
            self._receive(size)
        if self.session.state is not State.CLOSED:
            self.session.connection_lost("the connection broke", AT)
        return self._result()

    def _receive(self, size: int) -> None:
        piece = bytes(self.incoming[:size])
        del self.incoming[:size]
        self.read += len(piece)
        try:
            self.session.receive(piece, AT)
        except ProtocolError as error:
            self.session.fail(str(error), AT)
        if self.session.wants_tls and not self.session.has_output:
            self.session.tls_started()
        self._act()

    def _act(self) -> None:
        session = self.session
        if session.state is State.READY_FOR_CONTENT and self.todo and session.can_pipeline_next:
            session.end_and_begin(*self._next())
        elif session.state is State.READY_FOR_CONTENT:
            session.end()
        elif session.state is State.IDLE and self.todo:
            session.begin(*self._next())
        elif session.state is State.IDLE:
            session.quit()

    def _next(self) -> tuple[Envelope, bytes]:
        item = self.todo.pop(0)
        return item, content_of(item, self.session)

    def _write(self) -> None:
        data = self.session.data_to_send()
        self.session.bytes_sent += len(data)
        if self.eof is None and data:
            self._take(self.peer.feed(data))

    def _take(self, actions: Any) -> None:
        for action in actions:
            if isinstance(action, Close | Reset):
                self.eof = "closed"
                return
            if isinstance(action, StartTLS):
                self.peer.forget_plain_text()
            else:
                self.incoming += octets(action)

    def _result(self) -> Result:
        outcomes = self.session.outcomes
        return Result(
            [(outcome.envelope.address, outcome.kind) for outcome in outcomes],
            [outcome.reply for outcome in outcomes],
            [item.address for item in self.session.returned],
            self.session,
            self.peer,
            self.read,
        )


def at_once(_read: int) -> int:
    return 1 << 20


def one_by_one(_read: int) -> int:
    return 1


def cut_at(position: int) -> Callable[[int], int]:
    return lambda read: position - read if read < position else 1 << 20


def script(pipelining: bool = True, **how: Any) -> Script:
    return Script(offers=("PIPELINING", "8BITMIME", "SIZE 100000") if pipelining else ("8BITMIME",), **how)


def nth(number: int, action: Any) -> Callable[[bytes, int], Any]:
    """Return a handler that takes this action on line `number` and the usual one on others."""
    return lambda line, count: action if count == number else None


def to(*addresses: str) -> list[Envelope]:
    return [envelope(f"{address}@example.com", number) for number, address in enumerate(addresses)]


def refuse(answers: dict[bytes, str]) -> Callable[[bytes, int], str | None]:
    return lambda line, count: next((reply for part, reply in answers.items() if part in line), None)


# Each conversation: the server's actions, the recipients, their outcomes. Valid with and without PIPELINING.
S, D, F, Q = Kind.SENT, Kind.DEFERRED, Kind.FAILED, Kind.IN_DOUBT
CONVERSATIONS: dict[str, tuple[dict[str, Any], list[str], dict[str, Kind]]] = {
    "all accepted": ({}, ["a", "b", "c"], {"a": S, "b": S, "c": S}),
    "replies of many lines": (
        {
            "MAIL": lambda line, n: "250-2.1.0 so\r\n250 2.1.0 ok",
            "RCPT": lambda line, n: "250-2.1.5 so\r\n250 2.1.5 ok",
            "DATA": lambda line, n: "354-go\r\n354 on",
            "CONTENT": lambda line, n: "250-2.0.0 thank\r\n250 2.0.0 you",
        },
        ["a", "b", "c"],
        {"a": S, "b": S, "c": S},
    ),
    "replies without text": (
        dict.fromkeys(("MAIL", "RCPT", "CONTENT"), lambda line, n: "250"),
        ["a", "b", "c"],
        {"a": S, "b": S, "c": S},
    ),
    "each its own status": (
        {"RCPT": refuse({b"b@": "450 4.2.1 later", b"c@": "550 5.1.1 no such user"})},
        ["a", "b", "c", "d"],
        {"a": S, "b": D, "c": F, "d": S},
    ),
    "552 to RCPT is too many recipients": ({"RCPT": nth(1, "552 too many")}, ["a", "b", "c"], {"a": S, "b": D, "c": S}),
    "552 5.2.2 to RCPT is a full mailbox": (
        {"RCPT": nth(1, "552 5.2.2 full")},
        ["a", "b", "c"],
        {"a": S, "b": F, "c": S},
    ),
    "MAIL 451": ({"MAIL": nth(1, "451 4.3.0 later")}, ["a", "b", "c"], {"a": S, "b": D, "c": S}),
    "MAIL 552": ({"MAIL": nth(1, "552 5.3.4 too big")}, ["a", "b", "c"], {"a": S, "b": F, "c": S}),
    "MAIL 555": ({"MAIL": nth(0, "555 parameters")}, ["a", "b"], {"b": S}),
    "MAIL 554 5.6.0": ({"MAIL": nth(0, "554 5.6.0 content")}, ["a", "b"], {"a": F, "b": S}),
    "DATA 451": ({"DATA": nth(1, "451 4.3.0 later")}, ["a", "b", "c"], {"a": S, "b": D, "c": S}),
    "DATA 554": ({"DATA": nth(1, "554 5.7.1 no")}, ["a", "b", "c"], {"a": S, "b": F, "c": S}),
    "dot 451": ({"CONTENT": nth(1, "451 4.3.0 later")}, ["a", "b", "c"], {"a": S, "b": D, "c": S}),
    "dot 554": ({"CONTENT": nth(1, "554 5.7.1 spam")}, ["a", "b", "c"], {"a": S, "b": F, "c": S}),
    "dot 552": ({"CONTENT": nth(0, "552 5.3.4 too big")}, ["a", "b"], {"a": F, "b": S}),
    "dot 200": ({"CONTENT": nth(0, "200 odd")}, ["a", "b"], {"a": S, "b": S}),
    "QUIT refused": ({"QUIT": nth(0, "500 no")}, ["a"], {"a": S}),
    "QUIT without an answer": ({"QUIT": nth(0, Close())}, ["a"], {"a": S}),
    "421 at RCPT": ({"RCPT": nth(1, ("421 4.3.2 closing", Close()))}, ["a", "b"], {"a": S, "b": D}),
    "421 at MAIL": ({"MAIL": nth(1, ("421 4.3.2 closing", Close()))}, ["a", "b"], {"a": S, "b": D}),
    "421 at DATA": ({"DATA": nth(1, ("421 4.3.2 closing", Close()))}, ["a", "b"], {"a": S, "b": D}),
    "421 at the dot": ({"CONTENT": nth(0, ("421 4.3.2 closing", Close()))}, ["a"], {"a": D}),
    "3yz to the dot": ({"CONTENT": nth(0, "354 what")}, ["a"], {"a": Q}),
    "999 to the dot": ({"CONTENT": nth(0, "999 what")}, ["a"], {"a": Q}),
    "garbage to the dot": ({"CONTENT": nth(0, ("what", "250 2.0.0 Ok"))}, ["a"], {"a": Q}),
    "25 to the dot": ({"CONTENT": nth(0, "25")}, ["a"], {"a": Q}),
    "two codes to the dot": ({"CONTENT": nth(0, "250-a\r\n550 b")}, ["a"], {"a": Q}),
    "closed at the dot": ({"CONTENT": nth(0, Close())}, ["a"], {"a": Q}),
    "closed at DATA": ({"DATA": nth(0, Close())}, ["a"], {"a": D}),
    "closed at RCPT": ({"RCPT": nth(0, Close())}, ["a"], {"a": D}),
    "closed at MAIL": ({"MAIL": nth(0, Close())}, ["a"], {}),
    "idled out at MAIL": ({"MAIL": nth(0, ("421 4.4.2 timeout", Close()))}, ["a"], {}),
    "garbage to MAIL": ({"MAIL": nth(0, "what")}, ["a"], {"a": D}),
    "garbage to RCPT": ({"RCPT": nth(0, "what")}, ["a"], {"a": D}),
    "354 to MAIL": ({"MAIL": nth(0, "354 what")}, ["a"], {"a": D}),
    "250 to DATA": ({"DATA": nth(0, "250 what")}, ["a"], {"a": D}),
    "354 without a recipient": (
        {"RCPT": nth(0, "550 5.1.1 no"), "DATA": nth(0, "354 go on")},
        ["a", "b"],
        {"a": F, "b": S},
    ),
    "354 without a recipient, its dot refused": (
        {
            "RCPT": nth(0, "550 5.1.1 no"),
            "DATA": nth(0, "354 go on"),
            "CONTENT": lambda content, n: None if content.strip() else "554 no recipients",
        },
        ["a", "b"],
        {"a": F, "b": S},
    ),
    "RSET refused": (
        {"RCPT": nth(0, "550 5.1.1 no"), "DATA": nth(0, "503 5.5.1 no"), "RSET": nth(0, "500 what")},
        ["a", "b"],
        {"a": F},
    ),
}
