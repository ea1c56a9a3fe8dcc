"""All connections of a sender: waiting for them, and their deadlines. The clock is an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from delivery.smtp.command import Step
from delivery.smtp.connection import Connection, Watch
from delivery.smtp.session import Session
from delivery.smtp.transport import READ, Address, Poller, Tls, wall_clock


class Network(Watch):
    """Every connection that is open, and what happens to them."""

    def __init__(self, clock: Callable[[], float], limits: Mapping[Step, float], poller: Poller) -> None:
        super().__init__(clock, limits, poller)
        self._check_every = min(limits.values()) / 4
        self._check_at = self.now
        self._watched: int | None = None
        self.told = False  # whether the last wait found that it can be read

    def watch(self, descriptor: int | None) -> None:
        """Let `wait` end, too, when this one can be read; None: no more."""
        if self._watched is not None:
            self.poller.unregister(self._watched)
        self._watched, self.told = descriptor, False
        if descriptor is not None:
            self.poller.register(descriptor, READ)

    def connect(
        self, address: Address, session: Session, tls: Callable[[], Tls] | None, *, at_once: bool
    ) -> Connection:
        """Begin a connection, `at_once` in TLS. OSError: not even begun, as without a free file descriptor."""
        connection = Connection(self, address, session, tls)
        if at_once:
            connection.use_tls()
        self.connections[connection.fd] = connection
        return connection

    def wait(self, timeout: float) -> list[Connection]:
        """The connections that something happened to, at the latest after `timeout` seconds."""
        timeout = 0.0 if self.ended else min(timeout, self._check_at - self.now)
        ready = self.poller.poll(max(0.0, timeout))
        self.now = now = self.clock()
        self.at = wall_clock()
        connections = self.connections
        happened = []
        self.told = False
        for fd, mask in ready:
            connection = connections.get(fd)
            if connection is not None:
                if mask == READ:
                    connection.receive()
                else:
                    connection.ready(mask)
                happened.append(connection)
            elif fd == self._watched:
                self.told = True
        if now >= self._check_at:
            self._check_at = now + self._check_every
            for connection in list(connections.values()):
                connection.check(now)
        if self.ended:
            happened = [connection for connection in happened if not connection.closed] + self.ended
            self.ended = []
        return happened

    def close(self) -> None:
        """Close everything, whatever is under way."""
        for connection in list(self.connections.values()):
            connection.close()
        self.poller.close()
