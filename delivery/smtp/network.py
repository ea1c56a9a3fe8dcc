"""All connections of a sender: waits for their events and checks their deadlines. The clock is an argument."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from delivery.smtp.command import Step
from delivery.smtp.connection import Connection, EventLoopState
from delivery.smtp.session import Session
from delivery.smtp.transport import READ, Address, Poller, Tls, wall_clock


class Network(EventLoopState):
    """All connections that are open or opening."""

    def __init__(self, clock: Callable[[], float], timeouts: Mapping[Step, float], poller: Poller) -> None:
        super().__init__(clock, timeouts, poller)
        self._check_interval = min(timeouts.values()) / 4
        self._check_at = self.now
        self._commit_descriptor: int | None = None
        self.commit_ready = False  # whether the last wait found the commit's descriptor readable

    def watch_commit(self, descriptor: int | None) -> None:
        """Make `wait` also return when this descriptor is readable. None stops watching."""
        if self._commit_descriptor is not None:
            self.poller.unregister(self._commit_descriptor)
        self._commit_descriptor, self.commit_ready = descriptor, False
        if descriptor is not None:
            self.poller.register(descriptor, READ)

    def connect(
        self,
        address: Address,
        session: Session,
        tls: Callable[[], Tls] | None,
        *,
        implicit_tls: bool,
        connect_timeout: float,
    ) -> Connection:
        """Start a connection, with TLS from the first byte if `implicit_tls` (RFC 8314). Raises OSError."""
        connection = Connection(self, address, session, tls, connect_timeout)
        if implicit_tls:
            connection.use_tls()
        self.connections[connection.fd] = connection
        return connection

    def wait(self, timeout: float) -> list[Connection]:
        """Wait up to `timeout` seconds. Return the connections on which something happened."""
        timeout = 0.0 if self.ended else min(timeout, self._check_at - self.now)
        ready = self.poller.poll(max(0.0, timeout))
        self.now = now = self.clock()
        self.wall_time = wall_clock()
        connections = self.connections
        happened = []
        self.commit_ready = False
        for fd, mask in ready:
            connection = connections.get(fd)
            if connection is not None:
                if mask == READ:
                    connection.receive()
                else:
                    connection.handle_events(mask)
                happened.append(connection)
            elif fd == self._commit_descriptor:
                self.commit_ready = True
        if now >= self._check_at:
            self._check_at = now + self._check_interval
            for connection in list(connections.values()):
                connection.check_timeout(now)
        if self.ended:
            happened = [connection for connection in happened if not connection.closed] + self.ended
            self.ended = []
        return happened

    def close(self) -> None:
        """Close all connections at once, even with messages in progress."""
        for connection in list(self.connections.values()):
            connection.close()
        self.poller.close()
