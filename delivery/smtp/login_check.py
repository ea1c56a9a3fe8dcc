"""A login to the SMTP server that sends no mail: what the sender would meet, told to a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from delivery.interface import SessionError
from delivery.smtp import transport
from delivery.smtp.command import LIMITS
from delivery.smtp.connection import Connection
from delivery.smtp.network import Network
from delivery.smtp.sender import SMTPSender, SMTPServer
from delivery.smtp.state import CLOSED, Form
from delivery.smtp.transport import Address, Tls


class Welcome(NamedTuple):
    """The server took the login. With TLS: its version, and when the certificate ends (seconds since 1970 UTC)."""

    address: str
    tls: str | None = None
    certificate_ends_at: float | None = None


def try_login(server: SMTPServer, seconds: float = 10.0) -> Welcome:
    """Connect, say EHLO, begin TLS and log in, as a sender does, and leave. SessionError says what was refused."""
    return _Trial(server, seconds).run()


class _Trial(SMTPSender):
    def __init__(self, server: SMTPServer, seconds: float) -> None:
        limits = {step: min(limit, seconds) for step, limit in LIMITS.items()}
        super().__init__(server, connections=1, limits=limits)
        self._until = transport.monotonic() + seconds
        self._tried_tls: Tls | None = None

    def run(self) -> Welcome:
        failures = []
        network = self._network()
        try:
            for address in self._addresses():
                connection, reason = self._try(network, address)
                if connection.session.opened:
                    self._leave(network, connection)
                    return self._welcome(address)
                failures.append(f"{address}: {reason}")
                if connection.session.refusal is not None and connection.session.refusal.final:
                    break
        finally:
            network.close()
        raise SessionError(f"{self._server.host}:{self._server.port}: {'; '.join(failures)}")

    def _try(self, network: Network, address: Address) -> tuple[Connection, str]:
        try:
            connection = self._connect(network, address, Form.ONE_BY_ONE)
        except OSError as error:
            raise SessionError(f"{address}: {error.strerror or error}") from error
        session = connection.session
        while not session.opened and session.state is not CLOSED:
            if network.clock() >= self._until:
                connection.stop(f"no answer in time to {session.step.name if session.step else 'TLS'}")
            network.wait(max(0.0, self._until - network.now))
        return connection, session.reason

    def _leave(self, network: Network, connection: Connection) -> None:
        """A server that is slow to say goodbye, or never does, changes nothing."""
        connection.session.quit()
        connection.flush()
        while not connection.closed and network.clock() < self._until:
            network.wait(1.0)

    def _welcome(self, address: Address) -> Welcome:
        if self._tried_tls is None:
            return Welcome(str(address))
        return Welcome(str(address), self._tried_tls.version, self._tried_tls.certificate_ends_at)

    def _new_tls(self) -> Callable[[], Tls]:
        new_tls = super()._new_tls()

        def remembered() -> Tls:
            self._tried_tls = new_tls()
            return self._tried_tls

        return remembered
