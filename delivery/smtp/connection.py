"""One connection: moves its session's bytes to and from the kernel, through TLS if it is used, and has deadlines.

A new deadline starts whenever the session waits for another reply. Bytes that do not complete a reply do not extend it.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Mapping

from delivery.smtp import transport
from delivery.smtp.command import Step
from delivery.smtp.errors import ProtocolError
from delivery.smtp.reply import printable
from delivery.smtp.session import Session
from delivery.smtp.state import CLOSED, READY_FOR_CONTENT
from delivery.smtp.transport import READ, TLS_RECORD_BYTES, WRITE, Address, Poller, Tls

TLS_PROBE_SECONDS = 5.0  # without a greeting for this long, the server may be waiting for TLS
SPEAKS_TLS = "this port speaks TLS from the start: use smtp+ssl:// in EMAIL_URL"
SPEAKS_NO_TLS = "this port does not start with TLS: use smtp+tls:// in EMAIL_URL"
CONTENT_BLOCK_BYTES = 64 * 1024  # each block of content that the network takes starts a new deadline
_RECEIVE_BYTES = 16 * 1024
_EMPTY = memoryview(b"")
_CONNECT, _GREETING = Step.CONNECT, Step.GREETING


class EventLoopState:
    """The state that all connections of a loop share: the poller, the time, the timeouts, the ended connections."""

    def __init__(self, clock: Callable[[], float], timeouts: Mapping[Step, float], poller: Poller) -> None:
        self.clock = clock
        self.timeouts = timeouts
        self.poller = poller
        self.now = clock()
        self.wall_time = transport.wall_clock()  # after the last wait: the time of the outcomes that it brought
        self.probed_for_tls: set[Address] = set()  # addresses that sent no greeting
        self.connections: dict[int, Connection] = {}
        self.ended: list[Connection] = []


class Connection:
    """A socket and the session on it."""

    __slots__ = (
        "_awaited",
        "_awaited_since",
        "_broken",
        "_connect_step",
        "_connect_timeout",
        "_events",
        "_loop_state",
        "_new_tls",
        "_socket",
        "_tls",
        "_unsent",
        "_wire",
        "_wire_plain_bytes",
        "address",
        "closed",
        "fd",
        "session",
        "swallowed",
    )

    def __init__(
        self,
        loop_state: EventLoopState,
        address: Address,
        session: Session,
        new_tls: Callable[[], Tls] | None,
        connect_timeout: float,
    ) -> None:
        self.address = address
        self.swallowed = False  # the attempt to connect got no response
        self._connect_timeout = connect_timeout
        self.session = session
        self.closed = False
        self._loop_state = loop_state
        self._new_tls = new_tls
        self._tls: Tls | None = None
        self._unsent = _EMPTY  # plain bytes to be sent after `_wire`
        self._wire = _EMPTY  # the bytes that the kernel takes next
        self._wire_plain_bytes = 0  # number of plain bytes in `_wire`, if that is ciphertext
        self._broken = False  # writing failed; what the server sent before that can still be read
        self._connect_step: Step | None = Step.CONNECT  # CONNECT or TLS, until the session can wait for replies
        self._socket = transport.start_connect(address)
        self.fd = self._socket.fileno()
        self._events = WRITE
        self._awaited: object = None
        self._awaited_since = loop_state.now
        loop_state.poller.register(self.fd, WRITE)

    def handle_events(self, mask: int) -> None:
        """Handle a socket that is writable or has failed. For one that is only readable, call `receive`."""
        if self._connect_step is _CONNECT:
            return self._connected()
        if mask & WRITE:
            self._write_all()
        if mask & ~WRITE and not self.closed:
            self.receive()
        return None

    def flush(self) -> None:
        """Write as much of the session's output as the kernel takes."""
        data, tls = self.session.data_to_send(), self._tls
        if self._events != READ or self._broken or (tls is not None and not tls.fits_one_record(data)):
            self._unsent = memoryview(bytes(self._unsent) + data)
            return self._write_all()
        wire = data if tls is None else tls.encrypt(data)
        try:  # nearly always, nothing else is waiting and the kernel takes everything
            sent = self._socket.send(wire)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            return self._write_failed(error)
        if sent == len(wire):
            self.session.bytes_sent += len(data)
            return None
        self._wire_plain_bytes = len(data)
        self._count_sent(sent)
        self._wire = memoryview(wire)[sent:]
        return self._write_all()

    def use_tls(self) -> None:
        """Send and receive everything through TLS from now on."""
        if self._new_tls is not None:
            self._tls = self._new_tls()
            self._tls.handshake()

    def check_timeout(self, now: float) -> None:
        """Close the connection if the awaited reply is late. Called periodically, so that deadlines cost nothing else.

        A deadline starts at the first check after a reply, or after the network took another block of the content.
        """
        session = self.session
        step = self._connect_step or session.step
        awaited = (step, session.wait_count, session.bytes_sent // CONTENT_BLOCK_BYTES)
        if awaited != self._awaited:
            self._awaited, self._awaited_since = awaited, now
        elif step is not None and now - self._awaited_since >= self._timeout(step):
            self.swallowed = step is _CONNECT
            self._fail(f"timed out at {step.name}")
        elif step is _GREETING and now - self._awaited_since >= TLS_PROBE_SECONDS and self._speaks_tls():
            self._fail(f"no greeting: {SPEAKS_TLS}")

    def _timeout(self, step: Step) -> float:
        timeout = self._loop_state.timeouts[step]
        return min(timeout, self._connect_timeout) if step is _CONNECT else timeout

    def _fail(self, reason: str) -> None:
        self.session.fail(reason, self._loop_state.wall_time)
        self.close()

    def _speaks_tls(self) -> bool:
        """Return whether the server is waiting for TLS instead of greeting.

        This blocks, so it is checked once per address, and only while there is no other connection.
        """
        state = self._loop_state
        if self._tls is not None or self.address in state.probed_for_tls or len(state.connections) > 1:
            return False
        state.probed_for_tls.add(self.address)
        return transport.speaks_tls(self.address)

    def stop(self, reason: str) -> None:
        """Close the connection now. An envelope whose final dot was not sent is returned."""
        self.session.stop(reason, self._loop_state.wall_time)
        self.close()

    def close(self) -> None:
        """Close the socket without notifying the session."""
        if self.closed:
            return
        self.closed = True
        self._loop_state.connections.pop(self.fd, None)
        self._loop_state.ended.append(self)
        self._loop_state.poller.unregister(self.fd)
        self._socket.close()

    def _connected(self) -> None:
        error = transport.connect_error(self._socket)
        if error is not None:
            return self._connection_lost(error)
        self._connect_step = None if self._tls is None else Step.TLS
        return self._write_all()

    def receive(self) -> bool:
        """Read once. Return whether there was anything to read."""
        try:
            data: bytes | None = self._socket.recv(_RECEIVE_BYTES)
            if self._tls is not None and data:
                data = self._decrypt(self._tls, data)
        except BlockingIOError:
            return False
        except OSError as error:
            self._connection_lost(error)
            return False
        if data:
            session = self.session
            try:
                session.receive(data, self._loop_state.wall_time)
            except ProtocolError as error:
                session.fail(str(error), self._loop_state.wall_time)
            if session.state is not READY_FOR_CONTENT:
                self._act_on_session(session)
        elif data is not None:
            self._connection_lost(None)
        return True

    def _act_on_session(self, session: Session) -> None:
        """Do what the session needs after a reply. The owner decides when content may be sent."""
        if session.state is CLOSED:
            self.close()
        elif session.has_output:
            self.flush()
        elif session.wants_tls:
            self._start_tls()

    def _decrypt(self, tls: Tls, data: bytes) -> bytes | None:
        was_ready = tls.ready
        if not was_ready and self.session.step is _GREETING and data[:3].isdigit():
            raise OSError(errno.EPROTO, f"{printable(data[:200].rstrip())} … {SPEAKS_NO_TLS}")
        plain = tls.feed(data)
        if not was_ready:
            if tls.ready and self.session.wants_tls:
                self.session.tls_started()
            if tls.ready:
                self._connect_step = None
            self.flush()
        return None if self.closed else plain

    def _start_tls(self) -> None:
        self.use_tls()
        self._connect_step = Step.TLS
        self._write_all()

    def _write_all(self) -> None:
        """Write until everything is written, or the kernel does not take any more."""
        while not self._broken and (self._wire or self._load_wire()):
            try:
                sent = self._socket.send(self._wire)
            except BlockingIOError:
                return self._set_events(READ | WRITE)
            except OSError as error:
                return self._write_failed(error)
            self._count_sent(sent)
            self._wire = self._wire[sent:]
        return self._set_events(READ)

    def _count_sent(self, sent: int) -> None:
        """Count the plain bytes that the kernel took. A TLS record counts in full once its first byte is taken."""
        if self._tls is None:
            self.session.bytes_sent += sent
        elif sent:
            self.session.bytes_sent += self._wire_plain_bytes
            self._wire_plain_bytes = 0

    def _load_wire(self) -> bool:
        """Fill `_wire` with the next piece, encrypted if TLS is used. Return whether there was one."""
        if self._tls is None:
            self._wire, self._unsent = self._unsent, _EMPTY
        else:
            piece = self._unsent[:TLS_RECORD_BYTES] if self._tls.ready else _EMPTY
            self._unsent = self._unsent[len(piece) :]
            self._wire_plain_bytes = len(piece)
            self._wire = memoryview(self._tls.encrypt(piece))
        return bool(self._wire)

    def _write_failed(self, error: OSError) -> None:
        """Read before closing: the server may have sent a reason before it closed the connection."""
        self._broken = True
        self._set_events(READ)
        while not self.closed and self.receive():
            pass
        self._connection_lost(error)

    def _connection_lost(self, error: OSError | None) -> None:
        if not self.closed:
            reason = transport.describe_error(error) if error else "the server closed the connection"
            self.session.connection_lost(reason, self._loop_state.wall_time)
            self.close()

    def _set_events(self, mask: int) -> None:
        if mask != self._events:
            self._events = mask
            self._loop_state.poller.modify(self.fd, mask)
