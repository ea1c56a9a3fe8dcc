"""The connections of one `deliver`: when to open one more, where, and when the server is not to be had."""

from __future__ import annotations

from collections.abc import Callable

from delivery.smtp.connection import Connection
from delivery.smtp.network import Network
from delivery.smtp.session import Session
from delivery.smtp.state import Form
from delivery.smtp.transport import Address

NEVER = float("inf")
FEWER_FOR = 60.0  # seconds, after the server refused one connection more


class Pool:
    """Opens connections, first one alone: a server that is down or refuses the login is asked once."""

    def __init__(
        self,
        network: Network,
        addresses: list[Address],
        connect: Callable[[Address, Form], Connection],
        most: int,
        form: Form,
    ) -> None:
        self.opening: dict[Connection, None] = {}
        self.open: dict[Connection, None] = {}
        self.idle: dict[Connection, None] = {}  # those of `open` that have nothing to do
        self.leaving: dict[Connection, None] = {}  # QUIT was sent
        self.form = form  # what the server is known to follow
        self.refusal: str | None = None  # set once the server wants none of it
        self._network = network
        self._addresses = addresses  # the one to try next comes first
        self._connect = connect
        self.most = most
        self._limit = most
        self._limit_until = NEVER
        self._failures: list[str] = []  # of the addresses, since a connection was last opened

    @property
    def working(self) -> bool:
        """Whether a message is under way anywhere."""
        return len(self.open) > len(self.idle)

    def wants_more(self, waiting: int, *, sparing: bool) -> bool:
        """Whether to open one more connection for `waiting` envelopes; `sparing`: a few will do."""
        if self._network.now >= self._limit_until:
            self._limit, self._limit_until = self.most, NEVER
        if len(self.opening) + len(self.open) + len(self.leaving) >= self._limit or self.refusal is not None:
            return False
        if self.opening and (sparing or not self.open):
            return False
        if self.idle and sparing:
            return False
        return waiting > len(self.idle) + len(self.opening)

    def open_one(self) -> None:
        """Begin one more connection."""
        address = self._addresses[0]
        try:
            self.opening[self._connect(address, self.form)] = None
        except OSError as error:
            self._not_opened(f"{address}: {error.strerror or error}")

    def rest(self, connection: Connection) -> None:
        """This one has nothing to do: it has just opened, or its message was decided."""
        if connection in self.opening:
            del self.opening[connection]
            self.open[connection] = None
            self._failures.clear()
        self.idle[connection] = None

    def quit(self, connection: Connection) -> None:
        """Say goodbye on this one."""
        self.open.pop(connection, None)
        self.idle.pop(connection, None)
        self.leaving[connection] = None
        connection.session.quit()
        connection.flush()

    def closed(self, connection: Connection) -> None:
        """This one is gone; what it had under way has been seen to."""
        session = connection.session
        self.idle.pop(connection, None)
        self.leaving.pop(connection, None)
        if connection in self.opening:
            del self.opening[connection]
            self._failed(session, f"{connection.address}: {session.reason}")
        elif connection in self.open:
            del self.open[connection]
            self._learn(session)

    def stop_opening(self) -> None:
        """Close the connections that are not open yet."""
        opening, self.opening = self.opening, {}
        for connection in opening:
            connection.stop("not needed any more")

    def stop(self, reason: str) -> None:
        """Close every connection that is open."""
        for connection in list(self.open):
            connection.stop(reason)

    def _failed(self, session: Session, reason: str) -> None:
        if session.refusal is not None and session.refusal.final:
            self.refusal = self.refusal or reason
        else:
            self._not_opened(reason)

    def _not_opened(self, reason: str) -> None:
        """With others alive, the server wants no more of them; else the next address has its turn."""
        if self.open:
            self._limit, self._limit_until = len(self.open), self._network.now + FEWER_FOR
            return
        self._failures.append(reason)
        self._addresses.append(self._addresses.pop(0))
        if len(self._failures) >= len(self._addresses):
            self.refusal = self.refusal or "; ".join(self._failures)

    def _learn(self, session: Session) -> None:
        """A server that trips gets the next plainer form; so does one that hung up on the first it was sent."""
        form = session.tripped
        if session.cut_off and not any(connection.session.follows for connection in self.open):
            form = Form.GROUPED
        if form is not None:
            self.form = min(self.form, form)
            for connection in self.open:
                connection.session.form = self.form
