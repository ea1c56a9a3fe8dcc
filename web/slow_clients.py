"""Cuts off clients that stall, so that none of them occupies a thread of the web server for long.

Granian reads a body and writes an answer as slowly as the client wants, in a thread that waits for it and that nothing
can interrupt. But when the connection is shut down from outside, the wait ends at once. So a thread of each worker
looks once a second who is late, and finds the connections through what the kernel counts for each socket of this
process (tcp(7), TCP_INFO; Linux only):

- A request whose next part is late is answered for its thread: 408. Nothing leads from a request in WSGI to its
  connection, but now that is the one on which an answer of this very size has just been sent. It is shut for reading.
- A client that does not read its answer has data that it does not acknowledge. Its connection is shut down.
- A client that still sends a body whose answer it has (`web/body_limits.py` discards it) had that answer when the
  discarding began. Of the connections that are idle since then, so many are shut down as such requests are late.
- If there are too many connections, those are closed that have been idle for longest.

Who is late: usually, a client that moves less than some 500 bytes a second over PATIENCE seconds; while permits of its
kind are short, one that has stalled for MIN_STALL. No request is cut that is complete and being worked on.
"""

from __future__ import annotations

import os
import socket
import stat
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any, NamedTuple

from web.body_limits import DISCARD_TIMEOUT, MIN_STALL, WSGI_INPUT, BodyLimits, RequestBody

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

INTERVAL = 1.0  # seconds from one look to the next
SHORT_INTERVAL = 0.1  # while permits are short
FLUSH_TIME = 0.05  # seconds until the kernel has sent an answer
PATIENCE = 20.0  # seconds
SHORT_READING_PATIENCE = 2.0  # seconds, with those who read a large answer
MIN_RATE = 500  # bytes a second
MAX_CONNECTIONS = 1_500  # of this process, or half of the files that it may open
TEXT = b"Error: the request took too long to arrive\n"
HEADERS = [
    ("content-type", "text/plain; charset=utf-8"),
    ("content-length", str(len(TEXT))),
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("connection", "close"),
]
ANSWER_SIZES = range(len(TEXT) + 150, len(TEXT) + 350)  # bytes: with the status, and the headers that granian adds
DESCRIPTORS = "/proc/self/fd"
OPEN_STATES = (1, 4, 5, 8)  # ESTABLISHED, FIN_WAIT1, FIN_WAIT2, CLOSE_WAIT
TCP_INFO_SIZE = 208  # bytes, up to tcpi_bytes_sent


class _TcpInfo(NamedTuple):
    """What the kernel counts for a connection: bytes, and seconds since the last data."""

    state: int
    pending: int
    since_sent: float
    since_received: float
    acknowledged: int
    sent: int

    @classmethod
    def of(cls, connection: socket.socket) -> _TcpInfo:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_SIZE)
        (unacknowledged,) = struct.unpack_from("=I", info, 24)
        since_sent, _, since_received = struct.unpack_from("=III", info, 44)
        (acknowledged,) = struct.unpack_from("=Q", info, 120)
        (not_sent,) = struct.unpack_from("=I", info, 144)
        (sent,) = struct.unpack_from("=Q", info, 200)
        pending = unacknowledged + not_sent
        return cls(info[0], pending, since_sent / 1000, since_received / 1000, acknowledged, sent)


class _Connection:
    """A connection of a client, and how fast it takes what we send."""

    def __init__(self, inode: int, family: int) -> None:
        self.inode = inode
        self.descriptor = -1
        self.is_sending = False
        self.sent = 0  # bytes
        self.sent_at = self.received_at = 0.0
        self._family = family
        self._moved = self._window_moved = 0
        self._moved_at = self._window_since = 0.0
        self._crawls = False

    @property
    def is_idle(self) -> bool:
        """Whether the last data was ours, or there was none at all."""
        return not self.is_sending and self.received_at <= self.sent_at

    def look(self, now: float) -> bool:
        """Note what the kernel counts. Return whether it is still open."""
        try:
            with _borrowed(self._family, self.descriptor) as connection:
                info = _TcpInfo.of(connection)
        except (OSError, struct.error):
            return False
        self.sent_at, self.received_at, self.sent = now - info.since_sent, now - info.since_received, info.sent
        if bool(info.pending) != self.is_sending:
            self.is_sending, self._crawls = bool(info.pending), False
            self._moved_at = self._window_since = now
            self._window_moved = info.acknowledged
        if info.acknowledged > self._moved:
            self._moved, self._moved_at = info.acknowledged, now
        elapsed = now - self._window_since
        if elapsed >= PATIENCE:
            self._crawls = info.acknowledged - self._window_moved < MIN_RATE * elapsed
            self._window_since, self._window_moved = now, info.acknowledged
        return info.state in OPEN_STATES

    def reads_too_slowly(self, now: float, patience: float) -> bool:
        return self.is_sending and (self._crawls or now - self._moved_at >= patience)

    def shut(self, how: int) -> None:
        """Shut it down, unless its descriptor has become another file's."""
        with suppress(OSError):
            copy = os.dup(self.descriptor)
            try:
                if os.fstat(copy).st_ino == self.inode:
                    with _borrowed(self._family, copy) as connection:
                        connection.shutdown(how)
            finally:
                os.close(copy)


class _Connections:
    """Those on which clients of this process have come in."""

    def __init__(self) -> None:
        self._ports: set[int] = set()
        self._known: dict[int, _Connection | None] = {}  # by inode; None for other sockets

    def look(self) -> list[_Connection]:
        """Return all that are open, with what the kernel counts now."""
        now = time.monotonic()
        return [each for each in self._found() if each.look(now)]

    def _found(self) -> Iterator[_Connection]:
        found: dict[int, _Connection | None] = {}
        new: list[tuple[int, int, int, int]] = []
        for name in os.listdir(DESCRIPTORS):  # noqa: PTH208 - a path for each would cost more than all else
            with suppress(OSError):
                status = os.fstat(descriptor := int(name))
                if status.st_ino in self._known:
                    found[status.st_ino] = known = self._known[status.st_ino]
                    if known is not None:
                        known.descriptor = descriptor
                elif stat.S_ISSOCK(status.st_mode):
                    new.append((status.st_ino, descriptor, *self._inspect(descriptor)))
        for inode, descriptor, family, port in new:
            found[inode] = None
            if port in self._ports:
                found[inode] = connection = _Connection(inode, family)
                connection.descriptor = descriptor
        self._known = found
        return filter(None, found.values())

    def _inspect(self, descriptor: int) -> tuple[int, int]:
        """Return the family and the local port of a connection, which is 0 for other sockets."""
        with closing(socket.socket(fileno=os.dup(descriptor))) as found:
            if found.family not in (socket.AF_INET, socket.AF_INET6) or found.type != socket.SOCK_STREAM:
                return found.family, 0
            port = found.getsockname()[1]
            if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                self._ports.add(port)
                return found.family, 0
            return found.family, port


class SlowClients:
    """Watches the clients of one process."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._connections = _Connections()
        self._max_connections = MAX_CONNECTIONS

    def start(self) -> None:
        """Watch for the rest of this process, where the kernel allows it."""
        if sys.platform == "linux":
            threading.Thread(target=self._watch, name="slow clients", daemon=True).start()

    def _watch(self) -> None:
        if resource is not None:
            self._max_connections = min(MAX_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        while True:
            if self._limits.is_short():
                time.sleep(SHORT_INTERVAL)
            else:
                self._limits.shortage.wait(INTERVAL)
                self._limits.shortage.clear()
            self.look()

    def look(self) -> None:
        """Look at all connections once, and cut those that are late."""
        now = time.monotonic()
        bodies = list(self._limits.active)
        connections = self._connections.look()
        for each in (
            *self._slow_readers(connections, now),
            *self._discarded(connections, bodies, now),
            *self._surplus(connections, now),
        ):
            each.shut(socket.SHUT_RDWR)
        late = [body for body in bodies if self._is_late(body, now)]
        if late:
            self._end(late, connections)

    def _slow_readers(self, connections: list[_Connection], now: float) -> list[_Connection]:
        """Return those that do not read their answers."""
        patience = SHORT_READING_PATIENCE if self._limits.downloads.is_short() else PATIENCE
        return [each for each in connections if each.reads_too_slowly(now, patience)]

    def _discarded(self, connections: list[_Connection], bodies: list[RequestBody], now: float) -> list[_Connection]:
        """Return those that have an answer, and should have sent the rest of their bodies meanwhile."""
        patience = MIN_STALL if self._limits.discards.is_short() else DISCARD_TIMEOUT
        began = [body.reading_since for body in bodies if body.is_discarded and now - body.reading_since >= patience]
        candidates = [
            each for each in connections if each.sent and (each.is_idle or now - each.received_at >= PATIENCE)
        ]
        distances = {each: min((abs(each.sent_at - since) for since in began), default=1.0) for each in candidates}
        nearest = sorted((each for each in candidates if distances[each] < MIN_STALL), key=distances.__getitem__)
        return nearest[: len(began)]

    def _surplus(self, connections: list[_Connection], now: float) -> list[_Connection]:
        """Return those to close so that others can connect: the longest idle ones."""
        surplus = max(len(connections) - self._max_connections, 0)
        idle = [each for each in connections if each.is_idle and now - each.sent_at >= MIN_STALL]
        return sorted(idle, key=lambda each: each.sent_at)[:surplus]

    def _is_late(self, body: RequestBody, now: float) -> bool:
        """Whether a thread waits too long for the next part of a body."""
        if not body.reading_since or body.is_discarded:
            return False
        return now - body.reading_since >= (MIN_STALL if body.limit.is_short() else PATIENCE)

    def _end(self, late: list[RequestBody], connections: list[_Connection]) -> None:
        """Answer these requests, and shut their connections for reading."""
        sent_before = {each: each.sent for each in connections}
        frames = sys._current_frames()
        answered = [body for body in late if _answer(body, frames)]
        del frames
        if answered:
            time.sleep(FLUSH_TIME)
            for each in self._connections.look():
                if each in sent_before and each.sent - sent_before[each] in ANSWER_SIZES:
                    each.shut(socket.SHUT_RD)


def _answer(body: RequestBody, frames: dict[int, Any]) -> bool:
    """Answer a request whose thread waits for its body, as granian lets that thread do it. Return whether it worked."""
    frame = frames.get(body.thread)
    while frame is not None:
        if "proto" in frame.f_code.co_varnames:
            values = frame.f_locals
            if values.get("environ", {}).get(WSGI_INPUT) is body and body.give_up():
                values["proto"].response_bytes(408, HEADERS, TEXT)
                return True
        frame = frame.f_back
    return False


@contextmanager
def _borrowed(family: int, descriptor: int) -> Iterator[socket.socket]:
    """A socket object for a descriptor, which stays open."""
    borrowed = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, descriptor)
    try:
        yield borrowed
    finally:
        borrowed.detach()
