"""A scripted SMTP server that can do anything at any point, and records what it receives.

`Peer` is the server's side of one connection without I/O, for tests of the session alone. `ScriptedServer` puts
it on real sockets. `on` is the script: it maps a verb to a function. The function gets the line and the number of
earlier lines with that verb, and returns an action, or None for the usual reply. An action is

    "550 no"             send a reply; bytes are sent unchanged
    Close(), Reset()     close or reset the connection
    Wait(0.2)            wait for some seconds, or until the server stops
    Pieces("250 ok", 1)  send a reply in pieces of this many octets
    Call(function)       call a function, for example to kill the sender
    SILENCE              send nothing

or a tuple of these. The verbs are those of SMTP, and CONNECT, CONTENT (after the final dot) and LINE (a response
within AUTH). `at_octet` maps the number of octets read on a connection to an action.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self


class Close(NamedTuple):
    pass


class Reset(NamedTuple):
    how: str = "RST"


class Wait(NamedTuple):
    seconds: float


class Pieces(NamedTuple):
    text: str
    size: int


class Call(NamedTuple):
    function: Callable[[], object]


class StartTLS(NamedTuple):
    version: str = "any"


SILENCE = b""
Action = Any  # one of the above, text, octets, or a tuple of actions
Handler = Callable[[bytes, int], Action]

USUAL = {
    "CONNECT": "220 scripted.example ESMTP",
    "HELO": "250 scripted.example",
    "MAIL": "250 2.1.0 Ok",
    "RCPT": "250 2.1.5 Ok",
    "DATA": "354 End data with <CR><LF>.<CR><LF>",
    "CONTENT": "250 2.0.0 Ok: queued",
    "RSET": "250 2.0.0 Ok",
    "NOOP": "250 2.0.0 Ok",
    "STARTTLS": ("220 2.0.0 Ready", StartTLS()),
    "AUTH": "235 2.7.0 Welcome",
    "LINE": "235 2.7.0 Welcome",
    "QUIT": ("221 2.0.0 Bye", Close()),
}


class Accepted(NamedTuple):
    """One recipient's message that the server accepted."""

    sender: bytes
    recipient: bytes
    content: bytes  # as received, with dot-stuffing


@dataclass
class Script:
    """The server's capabilities and actions, and what it received. All its connections share one."""

    offers: tuple[str, ...] = ("PIPELINING", "8BITMIME", "SIZE 10000000")
    offers_in_tls: tuple[str, ...] | None = None
    on: Mapping[str, Handler] = field(default_factory=dict)
    at_octet: Mapping[int, Action] = field(default_factory=dict)
    follows: bool = True  # False: replies 503 to commands that arrive with the end of a message, as Haraka 3 does
    groups: bool = True  # False: replies 503 to commands that arrive with another command
    accepted: list[Accepted] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)  # every command line
    counts: dict[str, int] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class Peer:
    """The server's side of one connection."""

    socket: socket.socket

    def __init__(self, script: Script) -> None:
        self.script = script
        self.raw = b""
        self.tls = False
        self._buffer = b""
        self._in_content = False
        self._in_login = False
        self._sender = b""  # of the open transaction
        self._recipients: list[bytes] = []
        self._out_of_step = 0  # octets of input to reply 503 to

    def greet(self) -> Iterator[Action]:
        yield from self._answer("CONNECT", b"")

    def feed(self, data: bytes) -> Iterator[Action]:
        """Yield the actions that `data` causes."""
        start = len(self.raw)
        for position in sorted(p for p in self.script.at_octet if start < p <= start + len(data)):
            piece, data = data[: position - len(self.raw)], data[position - len(self.raw) :]
            yield from self._feed(piece)
            action = self.script.at_octet[position]
            yield from action if type(action) is tuple else (action,)
        yield from self._feed(data)

    def forget_plain_text(self) -> None:
        """Discard the buffered input once TLS is established."""
        self.tls = True
        self._buffer = b""

    def _feed(self, data: bytes) -> Iterator[Action]:
        self.raw += data
        self._buffer += data
        while True:
            end = b"\r\n.\r\n" if self._in_content and not self._buffer.startswith(b".\r\n") else b"\n"
            piece, found, rest = self._buffer.partition(end)
            if not found:
                return
            before = len(self._buffer)
            self._buffer = rest
            if self._in_content:
                yield from self._end_content(piece)
            else:
                yield from self._line(piece.rstrip(b"\r"), before)

    def _end_content(self, content: bytes) -> Iterator[Action]:
        self._in_content = False
        for action in self._answer("CONTENT", content):
            if _code(action) == 2:
                self.script.accepted += [Accepted(self._sender, to, content) for to in self._recipients]
            if _code(action):  # the first reply decides
                self._sender, self._recipients = b"", []
            yield action
        if not self.script.follows:
            self._out_of_step = len(self._buffer)

    def _line(self, line: bytes, before: int) -> Iterator[Action]:
        self.script.lines.append(line)
        if self._out_of_step > 0:
            self._out_of_step -= before - len(self._buffer)
            yield "503 5.5.1 Unexpected command"
            return
        verb = "LINE" if self._in_login else line.split(b" ")[0].decode("ascii", "replace").upper()
        self._in_login = False
        answered = False
        for action in self._answer(verb, line):
            if not answered:
                self._note(verb, line, _code(action))
            answered = answered or _code(action) > 0
            yield action
        if not self.script.groups:
            self._out_of_step = len(self._buffer)

    def _note(self, verb: str, line: bytes, code: int) -> None:
        if code == 3:
            self._in_content = verb == "DATA"
            self._in_login = verb in ("AUTH", "LINE")
        elif code == 2 and verb == "MAIL":
            self._sender, self._recipients = line, []
        elif code == 2 and verb in ("RSET", "EHLO", "HELO"):
            self._sender, self._recipients = b"", []
        elif code == 2 and verb == "RCPT":
            self._recipients.append(line[len(b"RCPT TO:<") :].rpartition(b">")[0])

    def _answer(self, verb: str, line: bytes) -> Iterator[Action]:
        with self.script.lock:  # each number goes to one line only
            nth = self.script.counts.get(verb, 0)
            self.script.counts[verb] = nth + 1
        handler = self.script.on.get(verb)
        action = handler(line, nth) if handler else None
        if action is None:
            action = self._usual(verb)
        yield from action if type(action) is tuple else (action,)

    def _usual(self, verb: str) -> Action:
        if verb == "RCPT" and not self._sender:
            return "503 5.5.1 MAIL first"
        if verb == "DATA" and not self._recipients:
            return "503 5.5.1 RCPT first"
        return self._ehlo() if verb == "EHLO" else USUAL.get(verb, "500 5.5.2 What?")

    def _ehlo(self) -> str:
        offers = self.script.offers_in_tls if self.tls else self.script.offers
        lines = ["scripted.example", *(self.script.offers if offers is None else offers)]
        return "\r\n".join([f"250-{line}" for line in lines[:-1]] + [f"250 {lines[-1]}"])


def _code(action: Action) -> int:
    """Return the first digit of the reply that an action sends, or 0."""
    text = action.text if isinstance(action, Pieces) else action
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    return int(text[0]) if isinstance(text, str) and text[:1].isdigit() else 0


def octets(action: Action) -> bytes:
    """Return the bytes that an action sends."""
    text = action.text if isinstance(action, Pieces) else action
    if isinstance(text, str):
        return text.encode() + b"\r\n"
    return text if isinstance(text, bytes) else b""


class ScriptedServer:
    """A server that runs a `Script` on 127.0.0.1 (or `::1`), with one thread per connection."""

    def __init__(
        self,
        *,
        certificate: str | None = None,
        tls_at_once: bool = False,
        host: str = "127.0.0.1",
        backlog: int = 100,
        receive_buffer: int | None = None,
        **script: Any,
    ) -> None:
        self.script = Script(**script)
        self.peers: list[Peer] = []
        self.most_at_once = 0
        self._being_served: set[Peer] = set()
        self._certificate = certificate
        self._tls_at_once = tls_at_once
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_over = threading.Event()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family)
        if receive_buffer:
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._listener.bind((host, 0))
        self._listener.listen(backlog)
        self.port: int = self._listener.getsockname()[1]

    @property
    def accepted(self) -> list[Accepted]:
        return self.script.accepted

    @property
    def recipients(self) -> list[str]:
        return [message.recipient.decode() for message in self.accepted]

    @property
    def at_once(self) -> int:
        """The number of connections being served."""
        return len(self._being_served)

    def wait_until_idle(self) -> None:
        """Wait until all that clients sent before they closed their connections has been read, and counts."""
        end = time.monotonic() + 20
        while self._being_served:
            assert time.monotonic() < end, f"{self.at_once} connections are still open"
            time.sleep(0.001)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        peer = Peer(self.script)
        with self._lock:
            self.peers.append(peer)
            self._open.add(connection)
            self._being_served.add(peer)
            self.most_at_once = max(self.most_at_once, self.at_once)
        peer.socket = connection
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls_at_once:
                self._wrap(peer)
            self._talk(peer)
        except (OSError, _HungUp):
            pass
        finally:
            self._being_served.discard(peer)
            self._open.discard(peer.socket)
            peer.socket.close()

    def _talk(self, peer: Peer) -> None:
        for action in peer.greet():
            self._act(peer, action)
        while data := peer.socket.recv(65536):
            for action in peer.feed(data):
                self._act(peer, action)

    def _act(self, peer: Peer, action: Action) -> None:
        if isinstance(action, Wait):
            if self._is_over.wait(action.seconds):
                raise _HungUp
        elif isinstance(action, Call):
            action.function()
        elif isinstance(action, Close):
            raise _HungUp
        elif isinstance(action, Reset):
            peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise _HungUp
        elif isinstance(action, StartTLS):
            self._wrap(peer)
        elif isinstance(action, Pieces):
            data = octets(action)
            for start in range(0, len(data), action.size):
                peer.socket.sendall(data[start : start + action.size])
                time.sleep(0.001)
        else:
            data = octets(action)
            if data.startswith(b"221"):  # the client may reconnect as soon as it has read this
                self._being_served.discard(peer)
            peer.socket.sendall(data)

    def _wrap(self, peer: Peer) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._certificate or "")
        context.sslsocket_class = _TLSSocket
        plain = peer.socket
        self._open.discard(plain)
        try:
            peer.socket = context.wrap_socket(plain, server_side=True)
        except OSError:
            _TLSSocket.of_this_thread.newest.close()
            raise
        self._open.add(peer.socket)
        peer.forget_plain_text()


class _TLSSocket(ssl.SSLSocket):
    """Can be closed even if `wrap_socket` fails: it leaves its socket open if the client has reset the connection."""

    of_this_thread = threading.local()

    def __new__(cls, **options: Any) -> Self:
        made = super().__new__(cls, **options)
        cls.of_this_thread.newest = made
        return made


class _HungUp(Exception):
    pass
