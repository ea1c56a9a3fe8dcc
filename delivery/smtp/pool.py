"""The connection pool of one `deliver`: when to open another connection, to which address, and when to give up."""

from __future__ import annotations

from collections.abc import Callable

from delivery.smtp.connection import Connection
from delivery.smtp.network import Network
from delivery.smtp.session import Session
from delivery.smtp.state import PipeliningMode
from delivery.smtp.transport import Address

NEVER = float("inf")
# In seconds, while there are other addresses to try. An attempt whose packets are dropped silently does not fail on its
# own, and would delay all mail by the full timeout (RFC 8305, section 5).
SHORT_CONNECT_TIMEOUT = 2.0
REDUCED_LIMIT_SECONDS = 60.0  # how long the limit stays reduced after the server refused another connection


class Pool:
    """Opens one connection first, and more once it works, so that a server that is down or refuses us is tried once."""

    def __init__(
        self,
        network: Network,
        addresses: list[Address],
        connect: Callable[[Address, PipeliningMode, float], Connection],
        max_connections: int,
        pipelining_mode: PipeliningMode,
    ) -> None:
        self.opening: dict[Connection, None] = {}
        self.open: dict[Connection, None] = {}
        self.idle: dict[Connection, None] = {}  # the open connections without a message
        self.quitting: dict[Connection, None] = {}  # QUIT was sent
        self.pipelining_mode = pipelining_mode  # the highest mode that the server may still support
        self.refusal: str | None = None  # why the server is not usable, once that is known
        self.opened = False  # whether any connection was ever open
        self.swallowing: list[Address] = []  # addresses that did not respond, if the host has several
        self._network = network
        self._addresses = addresses  # the first is tried next
        self._connect = connect
        self.max_connections = max_connections
        self._limit = max_connections
        self._limit_until = NEVER
        self._failures: list[str] = []  # one for each address tried since a connection was last opened

    @property
    def busy(self) -> bool:
        """Whether any connection has a message in progress."""
        return len(self.open) > len(self.idle)

    def should_open(self, waiting: int, *, few: bool) -> bool:
        """Return whether to open another connection for `waiting` envelopes. `few`: a few connections are enough."""
        if self._network.now >= self._limit_until:
            self._limit, self._limit_until = self.max_connections, NEVER
        if len(self.opening) + len(self.open) + len(self.quitting) >= self._limit or self.refusal is not None:
            return False
        if self.opening and (few or not self.open):
            return False
        if self.idle and few:
            return False
        return waiting > len(self.idle) + len(self.opening)

    def open_connection(self) -> None:
        """Start connecting to the first address. If that fails, the others are tried."""
        address = self._addresses[0]
        try:
            self.opening[self._connect(address, self.pipelining_mode, self._connect_timeout())] = None
        except OSError as error:
            self._handle_open_failure(f"{address}: {error.strerror or error}")

    def _connect_timeout(self) -> float:
        is_last = len(self._failures) >= len(self._addresses) - 1
        return NEVER if is_last and not self.open else SHORT_CONNECT_TIMEOUT

    def park(self, connection: Connection) -> None:
        """Mark a connection as idle: it has just opened, or its message has an outcome."""
        if connection in self.opening:
            del self.opening[connection]
            self.open[connection] = None
            self.opened = True
            self._failures.clear()
        self.idle[connection] = None

    def quit(self, connection: Connection) -> None:
        """Send QUIT, and stop using the connection."""
        self.open.pop(connection, None)
        self.idle.pop(connection, None)
        self.quitting[connection] = None
        connection.session.quit()
        connection.flush()

    def remove(self, connection: Connection) -> None:
        """Remove a closed connection, whose outcomes have been collected, and react to why it was closed."""
        session = connection.session
        self.idle.pop(connection, None)
        self.quitting.pop(connection, None)
        if connection in self.opening:
            del self.opening[connection]
            if connection.swallowed and len(self._addresses) > 1:
                self.swallowing.append(connection.address)
            self._handle_failure(session, f"{connection.address}: {session.reason}")
        elif connection in self.open:
            del self.open[connection]
            self._downgrade(session)
            if session.too_many_connections:
                self._reduce_limit()
            if session.refusal is not None:
                self.refusal = self.refusal or str(session.refusal)

    def stop_opening(self) -> None:
        """Close the connections that are not open yet."""
        opening, self.opening = self.opening, {}
        for connection in opening:
            connection.stop("no longer needed")

    def stop(self, reason: str) -> None:
        """Close every open connection now."""
        for connection in list(self.open):
            connection.stop(reason)

    def _handle_failure(self, session: Session, reason: str) -> None:
        if session.refusal is not None and session.refusal.final:
            self.refusal = self.refusal or reason
        else:
            self._handle_open_failure(reason)

    def _handle_open_failure(self, reason: str) -> None:
        """If others are open, reduce the limit to those for a while. Otherwise, move on to the next address."""
        if self.open:
            self._reduce_limit()
            return
        self._failures.append(reason)
        self._addresses.append(self._addresses.pop(0))
        if len(self._failures) >= len(self._addresses):
            self.refusal = self.refusal or "; ".join(self._failures)

    def _reduce_limit(self) -> None:
        self._limit, self._limit_until = max(1, len(self.open)), self._network.now + REDUCED_LIMIT_SECONDS

    def _downgrade(self, session: Session) -> None:
        """Lower the pipelining mode if the server could not handle it, or hung up on the first pipelined MAIL."""
        mode = session.downgraded_to
        sessions = (connection.session for connection in self.open)
        if session.hung_up_on_pipelined_mail and not any(other.answered_pipelined_mail for other in sessions):
            mode = PipeliningMode.ENVELOPE
        if mode is not None:
            self.pipelining_mode = min(self.pipelining_mode, mode)
            for connection in self.open:
                connection.session.pipelining_mode = self.pipelining_mode
