"""The SMTP sender that a sweep uses."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, Protocol

from delivery.interface import Queue, SessionError
from delivery.smtp import transport
from delivery.smtp.circuit_breaker import CircuitBreaker
from delivery.smtp.command import STEP_TIMEOUTS, Step
from delivery.smtp.connection import Connection
from delivery.smtp.handshake import Handshake, Login
from delivery.smtp.loop import DeliveryLoop
from delivery.smtp.network import Network
from delivery.smtp.pool import Pool
from delivery.smtp.rate_limit import RateLimiter
from delivery.smtp.session import Session
from delivery.smtp.state import PipeliningMode
from delivery.smtp.transport import Address, Poller, Tls

STOP_TIMEOUT_SECONDS = 60.0  # for messages in flight, after a stop was requested


class SMTPServer(NamedTuple):
    """The mail server and how to connect to it. The repr does not show the password."""

    host: str
    port: int
    security: str = "none"  # 'none', 'starttls' or 'tls'
    user: str | None = None
    password: str | None = None
    ca_file: str | None = None  # used instead of the system's certificate authorities
    helo_name: str | None = None  # used instead of this host's name or address

    def __repr__(self) -> str:
        return f"SMTPServer({self.host!r}, {self.port}, {self.security!r}, user={self.user!r})"


class AddressMemory(Protocol):
    """Remembers across senders which addresses of a host do not respond."""

    def unreachable(self) -> Collection[str]:
        """Return these addresses, formatted as by `str(Address)`. They are tried last."""

    def record_unreachable(self, addresses: Collection[str], host: str) -> None:
        """Record that these addresses of `host` did not respond to an attempt to connect."""


class SMTPSender:
    """Delivers by SMTP. The pipelining mode that the server supports is kept from one `deliver` to the next."""

    address_memory: AddressMemory | None = None

    def __init__(
        self,
        server: SMTPServer,
        *,
        connections: int,
        messages_per_connection: int = 0,
        max_rate: float = 0,
        hostname: str | None = None,
        clock: Callable[[], float] = transport.monotonic,
        timeouts: Mapping[Step, float] = STEP_TIMEOUTS,
        stop_timeout: float = STOP_TIMEOUT_SECONDS,
        new_poller: Callable[[], Poller] = transport.new_poller,
    ) -> None:
        self._server = server
        self._connections = connections
        self._messages_per_connection = messages_per_connection or float("inf")
        self._max_rate = max_rate
        self._hostname = hostname
        self._pipelining_mode = PipeliningMode.ACROSS_MESSAGES
        self._clock = clock
        self._step_timeouts = timeouts
        self._stop_timeout = stop_timeout
        self._new_poller = new_poller
        self._tls: Callable[[], Tls] | None = None

    def deliver(self, queue: Queue) -> None:
        """Send everything in `queue`. Raises SessionError if the server refuses the session."""
        addresses = self._addresses()
        if self.address_memory is not None and len(addresses) > 1:
            unreachable = self.address_memory.unreachable()
            addresses.sort(key=lambda address: str(address) in unreachable)
        network = self._network()

        def connect(address: Address, pipelining_mode: PipeliningMode, connect_timeout: float) -> Connection:
            return self._connect(network, address, pipelining_mode, connect_timeout)

        pool = Pool(network, addresses, connect, self._connections, self._pipelining_mode)
        loop = DeliveryLoop(
            queue,
            network,
            pool,
            RateLimiter(self._max_rate, network.now),
            CircuitBreaker(self._connections),
            messages_per_connection=self._messages_per_connection,
            stop_timeout=self._stop_timeout,
        )
        try:
            loop.run()
        finally:
            self._pipelining_mode = pool.pipelining_mode
            network.close()
        if self.address_memory is not None and pool.swallowing and pool.opened:  # otherwise, the network may be down
            self.address_memory.record_unreachable([str(address) for address in pool.swallowing], self._server.host)
        if pool.refusal is not None:
            raise SessionError(f"{self._server.host}:{self._server.port}: {pool.refusal}")

    def _network(self) -> Network:
        try:
            return Network(self._clock, self._step_timeouts, self._new_poller())
        except OSError as error:  # out of file descriptors
            raise SessionError(f"cannot wait for connections: {error.strerror or error}") from error

    def _addresses(self) -> list[Address]:
        try:
            return transport.resolve(self._server.host, self._server.port)
        except (OSError, UnicodeError) as error:
            raise SessionError(f"{self._server.host}: {getattr(error, 'strerror', None) or error}") from error

    def _connect(
        self, network: Network, address: Address, pipelining_mode: PipeliningMode, connect_timeout: float
    ) -> Connection:
        server = self._server
        handshake = Handshake(
            self._hostname or server.helo_name or transport.ehlo_name(address),
            starttls=server.security == "starttls",
            login=Login(server.user, server.password or "") if server.user else None,
            protected=server.security == "tls" or address.is_loopback,
        )
        tls = self._new_tls() if server.security != "none" else None
        session = Session(handshake, pipelining_mode)
        return network.connect(
            address, session, tls, implicit_tls=server.security == "tls", connect_timeout=connect_timeout
        )

    def _new_tls(self) -> Callable[[], Tls]:
        if self._tls is None:
            context, host = transport.tls_context(self._server.ca_file), self._server.host
            self._tls = lambda: Tls(context, host)
        return self._tls
