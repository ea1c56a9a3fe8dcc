"""An SMTP server for benchmarks: accepts and counts everything, replies after a delay, and supports STARTTLS.

    python bench/support/delaying_sink.py [--delay SECONDS] [--certificate FILE]

It uses one thread and epoll. The first line it prints is its port. When its input ends, it prints the number of
messages, its CPU seconds, the maximum number of open connections, the octets of all messages, and the average extra
delay of its replies in milliseconds. It accepts pipelined commands, and supports only as much SMTP as a correct sender
needs.
"""

from __future__ import annotations

import argparse
import select
import socket
import ssl
import sys
import time
from collections import deque

READ = 256 * 1024
GREETING = b"220 sink.example ESMTP\r\n"
OK, GO_ON, END = b"250 2.0.0 Ok\r\n", b"354 Go on\r\n", b"\r\n.\r\n"
ANSWERS = {b"DATA": GO_ON, b"QUIT": b"221 2.0.0 Bye\r\n", b"STAR": b"220 2.0.0 Ready\r\n"}
OFFERS = [b"sink.example", b"PIPELINING", b"8BITMIME", b"SIZE 10000000"]


class Peer:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.rest = b""
        self.in_content = False
        self.wants_tls = False
        self.shaking_hands = False

    def read(self) -> bytes | None:
        """Return what has arrived: b"" at the end, None if there is nothing."""
        try:
            if self.shaking_hands and isinstance(self.socket, ssl.SSLSocket):
                self.socket.do_handshake()
                self.shaking_hands = False
            data = self.socket.recv(READ)
            while isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
                data += self.socket.recv(READ)
        except (ssl.SSLWantReadError, BlockingIOError):
            return None
        except OSError:
            return b""
        return data

    def start_tls(self, context: ssl.SSLContext) -> None:
        self.wants_tls, self.shaking_hands = False, True
        self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)


class Sink:
    """All connections, and the pending replies with their times."""

    def __init__(self, delay: float, certificate: str | None) -> None:
        self.messages = self.octets = self.most = 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=1000)
        self.answers, self.late = 0, 0.0  # seconds in all
        self._delay = delay
        self._tls = _context(certificate) if certificate else None
        self._peers: dict[int, Peer] = {}
        self._later: deque[tuple[float, Peer, bytes]] = deque()
        self._poller = select.epoll()
        self._ehlo = _ehlo([*OFFERS, b"STARTTLS"] if certificate else OFFERS)

    def run(self) -> None:
        """Serve until the input ends."""
        self._poller.register(self.listener, select.EPOLLIN)
        self._poller.register(sys.stdin, select.EPOLLIN)
        while True:
            for fd, _ in self._ready():
                if fd == sys.stdin.fileno():
                    return
                if fd == self.listener.fileno():
                    self._accept()
                else:
                    self._serve(self._peers[fd])
            self._say_what_is_due()

    def _ready(self) -> list[tuple[int, int]]:
        """Wait for input until the next reply is due. epoll alone would round that time up to milliseconds."""
        if not self._later:
            return self._poller.poll()
        wait = max(self._later[0][0] - time.monotonic(), 0)
        select.select([self._poller], [], [], wait)
        return self._poller.poll(0)

    def _accept(self) -> None:
        connection, _ = self.listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = self._peers[connection.fileno()] = Peer(connection)
        self.most = max(self.most, len(self._peers))
        self._poller.register(connection, select.EPOLLIN)
        self._say(peer, GREETING)

    def _serve(self, peer: Peer) -> None:
        data = peer.read()
        if data == b"":
            del self._peers[peer.socket.fileno()]
            peer.socket.close()
        elif data and (answers := self._answers(peer, data)):
            self._say(peer, answers)

    def _answers(self, peer: Peer, data: bytes) -> bytes:
        """Return the replies to all complete commands so far."""
        rest, answers = peer.rest + data, b""
        while True:
            piece, found, after = rest.partition(END if peer.in_content else b"\r\n")
            if not found:
                peer.rest = rest
                return answers
            rest = after
            answers += self._content(piece) if peer.in_content else self._command(peer, piece)
            peer.in_content = answers.endswith(GO_ON)

    def _content(self, content: bytes) -> bytes:
        self.messages += 1
        self.octets += len(content)
        return OK

    def _command(self, peer: Peer, line: bytes) -> bytes:
        verb = line[:4].upper()
        peer.wants_tls = verb == b"STAR"
        return self._ehlo if verb == b"EHLO" else ANSWERS.get(verb, OK)

    def _say(self, peer: Peer, text: bytes) -> None:
        if self._delay:
            self._later.append((time.monotonic() + self._delay, peer, text))
        else:
            self._send(peer, text)

    def _say_what_is_due(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            due, peer, text = self._later.popleft()
            self._send(peer, text)
            self.answers += 1
            self.late += now - due

    def _send(self, peer: Peer, text: bytes) -> None:
        try:
            peer.socket.send(text)
        except OSError:
            return  # it hung up; reading reports that too
        if peer.wants_tls and self._tls:
            peer.start_tls(self._tls)


def _ehlo(offers: list[bytes]) -> bytes:
    return b"".join(b"250-%b\r\n" % offer for offer in offers[:-1]) + b"250 %b\r\n" % offers[-1]


def _context(certificate: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--certificate")
    options = parser.parse_args()
    sink = Sink(options.delay, options.certificate)
    print(sink.listener.getsockname()[1], flush=True)
    before = time.process_time()
    sink.run()
    cpu, late = time.process_time() - before, sink.late * 1000 / max(sink.answers, 1)
    print(sink.messages, cpu, sink.most, sink.octets, late)


if __name__ == "__main__":
    main()
