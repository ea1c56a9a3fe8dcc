"""The SMTP sender: what the sweep sees of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from delivery.interface import SessionError, Work
from delivery.smtp import transport
from delivery.smtp.circuit_breaker import Suspicion
from delivery.smtp.command import LIMITS, Step
from delivery.smtp.connection import Connection
from delivery.smtp.handshake import Login, Opening
from delivery.smtp.loop import Rounds
from delivery.smtp.network import Network
from delivery.smtp.pool import Pool
from delivery.smtp.rate_limit import Pace
from delivery.smtp.session import Session
from delivery.smtp.state import Form
from delivery.smtp.transport import Address, Poller, Tls

TIME_TO_STOP = 60.0  # seconds for what is in flight when asked to stop


class SMTPServer(NamedTuple):
    """Where mail goes, and how. Its text shows no password."""

    host: str
    port: int
    security: str = "none"  # or 'starttls' or 'tls'
    user: str | None = None
    password: str | None = None
    ca_file: str | None = None  # instead of the system's authorities

    def __repr__(self) -> str:
        return f"SMTPServer({self.host!r}, {self.port}, {self.security!r}, user={self.user!r})"


class SMTPSender:
    """Delivers by SMTP. What it learns of the server (which commands it takes together) outlives a `deliver`."""

    def __init__(
        self,
        server: SMTPServer,
        *,
        connections: int,
        messages_per_connection: int = 0,
        max_rate: float = 0,
        hostname: str | None = None,
        clock: Callable[[], float] = transport.monotonic,
        limits: Mapping[Step, float] = LIMITS,
        time_to_stop: float = TIME_TO_STOP,
        new_poller: Callable[[], Poller] = transport.new_poller,
    ) -> None:
        self._server = server
        self._connections = connections
        self._messages_per_connection = messages_per_connection or float("inf")
        self._max_rate = max_rate
        self._hostname = hostname
        self._form = Form.FOLLOWING
        self._clock = clock
        self._limits = limits
        self._time_to_stop = time_to_stop
        self._new_poller = new_poller
        self._tls: Callable[[], Tls] | None = None

    def deliver(self, work: Work) -> None:
        """Send all that `work` hands out. Raises SessionError when the server wants none of it."""
        addresses = self._addresses()
        network = self._network()

        def connect(address: Address, form: Form) -> Connection:
            return self._connect(network, address, form)

        pool = Pool(network, addresses, connect, self._connections, self._form)
        rounds = Rounds(
            work,
            network,
            pool,
            Pace(self._max_rate, network.now),
            Suspicion(self._connections),
            messages_per_connection=self._messages_per_connection,
            time_to_stop=self._time_to_stop,
        )
        try:
            rounds.run()
        finally:
            self._form = pool.form
            network.close()
        if pool.refusal is not None:
            raise SessionError(f"{self._server.host}:{self._server.port}: {pool.refusal}")

    def _network(self) -> Network:
        try:
            return Network(self._clock, self._limits, self._new_poller())
        except OSError as error:  # no file descriptor left
            raise SessionError(f"cannot wait for connections: {error.strerror or error}") from error

    def _addresses(self) -> list[Address]:
        try:
            return transport.resolve(self._server.host, self._server.port)
        except (OSError, UnicodeError) as error:
            raise SessionError(f"{self._server.host}: {getattr(error, 'strerror', None) or error}") from error

    def _connect(self, network: Network, address: Address, form: Form) -> Connection:
        server = self._server
        opening = Opening(
            self._hostname or transport.own_name(address),
            starttls=server.security == "starttls",
            login=Login(server.user, server.password or "") if server.user else None,
            protected=server.security == "tls" or address.is_loopback,
        )
        tls = self._new_tls() if server.security != "none" else None
        return network.connect(address, Session(opening, form), tls, at_once=server.security == "tls")

    def _new_tls(self) -> Callable[[], Tls]:
        if self._tls is None:
            context, host = transport.tls_context(self._server.ca_file), self._server.host
            self._tls = lambda: Tls(context, host)
        return self._tls
