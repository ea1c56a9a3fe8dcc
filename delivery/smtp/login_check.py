"""Log in to the SMTP server without sending mail, to check whether a sender could."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from delivery.interface import SessionError
from delivery.smtp import transport
from delivery.smtp.command import STEP_TIMEOUTS
from delivery.smtp.connection import Connection
from delivery.smtp.network import Network
from delivery.smtp.pool import NEVER, SHORT_CONNECT_TIMEOUT
from delivery.smtp.sender import SMTPSender, SMTPServer
from delivery.smtp.state import CLOSED, PipeliningMode
from delivery.smtp.transport import Address, Tls


class LoginResult(NamedTuple):
    """A successful login. With TLS, also its version and when the certificate expires (seconds since 1970 UTC)."""

    address: str
    tls: str | None = None
    certificate_expires_at: float | None = None


def try_login(server: SMTPServer, seconds: float = 10.0) -> LoginResult:
    """Connect, start TLS and log in as a sender does, then quit, all within `seconds`. Raises SessionError."""
    return _LoginProbe(server, seconds).run()


class _LoginProbe(SMTPSender):
    def __init__(self, server: SMTPServer, seconds: float) -> None:
        timeouts = {step: min(timeout, seconds) for step, timeout in STEP_TIMEOUTS.items()}
        super().__init__(server, connections=1, timeouts=timeouts)
        self._deadline = transport.monotonic() + seconds
        self._last_tls: Tls | None = None

    def run(self) -> LoginResult:
        failures = []
        network = self._network()
        try:
            addresses = self._addresses()
            for address in addresses:
                timeout = NEVER if address is addresses[-1] else SHORT_CONNECT_TIMEOUT
                connection, reason = self._attempt(network, address, timeout)
                if connection.session.opened:
                    self._quit(network, connection)
                    return self._result(address)
                failures.append(f"{address}: {reason}")
                if connection.session.refusal is not None and connection.session.refusal.final:
                    break
        finally:
            network.close()
        raise SessionError(f"{self._server.host}:{self._server.port}: {'; '.join(failures)}")

    def _attempt(self, network: Network, address: Address, connect_timeout: float) -> tuple[Connection, str]:
        try:
            connection = self._connect(network, address, PipeliningMode.NONE, connect_timeout)
        except OSError as error:
            raise SessionError(f"{address}: {error.strerror or error}") from error
        session = connection.session
        while not session.opened and session.state is not CLOSED:
            if network.clock() >= self._deadline:
                step = session.step.name if session.step else "TLS"
                connection.stop(f"timed out at {step}")
            network.wait(max(0.0, self._deadline - network.now))
        return connection, session.reason

    def _quit(self, network: Network, connection: Connection) -> None:
        """Send QUIT and wait for the connection to close. It does not matter if the server never replies."""
        connection.session.quit()
        connection.flush()
        while not connection.closed and network.clock() < self._deadline:
            network.wait(1.0)

    def _result(self, address: Address) -> LoginResult:
        if self._last_tls is None:
            return LoginResult(str(address))
        return LoginResult(str(address), self._last_tls.version, self._last_tls.certificate_expires_at)

    def _new_tls(self) -> Callable[[], Tls]:
        new_tls = super()._new_tls()

        def new_remembered_tls() -> Tls:
            self._last_tls = new_tls()
            return self._last_tls

        return new_remembered_tls
