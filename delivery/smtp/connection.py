"""One connection: its session's bytes to and from the kernel, through TLS where there is TLS, and its deadlines.

A deadline begins whenever the session waits for another answer, and is not moved by bytes that complete none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from delivery.smtp import transport
from delivery.smtp.command import Step
from delivery.smtp.errors import ProtocolError
from delivery.smtp.session import Session
from delivery.smtp.state import CLOSED, GO
from delivery.smtp.transport import READ, RECORD, WRITE, Address, Poller, Tls

BLOCK = 64 * 1024  # the content's deadline begins anew with each block that the network took
_RECEIVE = 16 * 1024
_NOTHING = memoryview(b"")
_CONNECT = Step.CONNECT


class Watch:
    """What all connections share: the poller, the time, the deadlines, and who has ended."""

    def __init__(self, clock: Callable[[], float], limits: Mapping[Step, float], poller: Poller) -> None:
        self.clock = clock
        self.limits = limits
        self.poller = poller
        self.now = clock()
        self.at = transport.wall_clock()  # the time of the outcomes that the last wait brought
        self.connections: dict[int, Connection] = {}
        self.ended: list[Connection] = []


class Connection:
    """A socket and the session on it."""

    __slots__ = (
        "_broken",
        "_mask",
        "_new_tls",
        "_plain",
        "_sealed",
        "_socket",
        "_stage",
        "_tls",
        "_waited_for",
        "_waiting_since",
        "_watch",
        "_wire",
        "address",
        "closed",
        "fd",
        "session",
    )

    def __init__(self, watch: Watch, address: Address, session: Session, new_tls: Callable[[], Tls] | None) -> None:
        self.address = address
        self.session = session
        self.closed = False
        self._watch = watch
        self._new_tls = new_tls
        self._tls: Tls | None = None
        self._plain = _NOTHING  # waits
        self._wire = _NOTHING  # what the kernel is to take next
        self._sealed = 0  # plain octets in `_wire`, where that is ciphertext
        self._broken = False  # writing has failed; what the server said before may still be read
        self._stage: Step | None = Step.CONNECT  # before the session has anything to wait for
        self._socket = transport.begin_connect(address)
        self.fd = self._socket.fileno()
        self._mask = WRITE
        self._waited_for: object = None
        self._waiting_since = watch.now
        watch.poller.register(self.fd, WRITE)

    def ready(self, mask: int) -> None:
        """The socket can be written, or has failed; for reading alone there is `receive`."""
        if self._stage is _CONNECT:
            return self._connected()
        if mask & WRITE:
            self._pump()
        if mask & ~WRITE and not self.closed:
            self.receive()
        return None

    def flush(self) -> None:
        """Hand to the kernel what the session has to say, as far as it takes it."""
        data, tls = self.session.data_to_send(), self._tls
        if self._mask != READ or self._broken or (tls is not None and not tls.takes(data)):
            self._plain = memoryview(bytes(self._plain) + data)
            return self._pump()
        wire = data if tls is None else tls.encrypt(data)
        try:  # what nearly every write is: nothing waits, and the kernel takes it all
            sent = self._socket.send(wire)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            return self._write_failed(error)
        if sent == len(wire):
            self.session.handed += len(data)
            return None
        self._sealed = len(data)
        self._count(sent)
        self._wire = memoryview(wire)[sent:]
        return self._pump()

    def use_tls(self) -> None:
        """From here on all bytes go through TLS."""
        if self._new_tls is not None:
            self._tls = self._new_tls()
            self._tls.handshake()

    def check(self, now: float) -> None:
        """Give up if what is waited for is late. Called now and then: nothing is spent on deadlines elsewhere.

        A deadline begins at the first look after an answer, or after a block of the content that was taken.
        """
        session = self.session
        step = self._stage or session.step
        waiting_for = (step, session.turn, session.handed // BLOCK)
        if waiting_for != self._waited_for:
            self._waited_for, self._waiting_since = waiting_for, now
        elif step is not None and now - self._waiting_since >= self._watch.limits[step]:
            session.fail(f"no answer in time to {step.name}", self._watch.at)
            self.close()

    def stop(self, reason: str) -> None:
        """Close it now; what was not ended is returned."""
        self.session.stop(reason, self._watch.at)
        self.close()

    def close(self) -> None:
        """Close the socket; the session has been told, or nobody asks any more."""
        if self.closed:
            return
        self.closed = True
        self._watch.connections.pop(self.fd, None)
        self._watch.ended.append(self)
        self._watch.poller.unregister(self.fd)
        self._socket.close()

    def _connected(self) -> None:
        error = transport.connect_error(self._socket)
        if error is not None:
            return self._lose(error)
        self._stage = None if self._tls is None else Step.TLS
        return self._pump()

    def receive(self) -> bool:
        """Read once; True if there was something."""
        try:
            data: bytes | None = self._socket.recv(_RECEIVE)
            if self._tls is not None and data:
                data = self._decrypt(self._tls, data)
        except BlockingIOError:
            return False
        except OSError as error:
            self._lose(error)
            return False
        if data:
            session = self.session
            try:
                session.receive(data, self._watch.at)
            except ProtocolError as error:
                session.fail(str(error), self._watch.at)
            if session.state is not GO:
                self._go_on(session)
        elif data is not None:
            self._lose(None)
        return True

    def _go_on(self, session: Session) -> None:
        """Do what the session wants after a reply; where a message may go, that is its owner's to decide."""
        if session.state is CLOSED:
            self.close()
        elif session.has_output:
            self.flush()
        elif session.wants_tls:
            self._start_tls()

    def _decrypt(self, tls: Tls, data: bytes) -> bytes | None:
        was_ready = tls.ready
        plain = tls.feed(data)
        if not was_ready:
            if tls.ready and self.session.wants_tls:
                self.session.tls_started()
            if tls.ready:
                self._stage = None
            self.flush()
        return None if self.closed else plain

    def _start_tls(self) -> None:
        self.use_tls()
        self._stage = Step.TLS
        self._pump()

    def _pump(self) -> None:
        """Write until all is written or the kernel takes no more."""
        while not self._broken and (self._wire or self._load()):
            try:
                sent = self._socket.send(self._wire)
            except BlockingIOError:
                return self._listen(READ | WRITE)
            except OSError as error:
                return self._write_failed(error)
            self._count(sent)
            self._wire = self._wire[sent:]
        return self._listen(READ)

    def _count(self, sent: int) -> None:
        """Under TLS the first octet of a record that is taken stands for the whole of it."""
        if self._tls is None:
            self.session.handed += sent
        elif sent:
            self.session.handed += self._sealed
            self._sealed = 0

    def _load(self) -> bool:
        """Put the next piece on the wire, through TLS where there is TLS."""
        if self._tls is None:
            self._wire, self._plain = self._plain, _NOTHING
        else:
            piece = self._plain[:RECORD] if self._tls.ready else _NOTHING
            self._plain = self._plain[len(piece) :]
            self._sealed = len(piece)
            self._wire = memoryview(self._tls.encrypt(piece))
        return bool(self._wire)

    def _write_failed(self, error: OSError) -> None:
        """The server may have said why before it hung up: that counts."""
        self._broken = True
        self._listen(READ)
        while not self.closed and self.receive():
            pass
        self._lose(error)

    def _lose(self, error: OSError | None) -> None:
        if not self.closed:
            self.session.lose(transport.reason(error) if error else "the server closed the connection", self._watch.at)
            self.close()

    def _listen(self, mask: int) -> None:
        if mask != self._mask:
            self._mask = mask
            self._watch.poller.modify(self.fd, mask)
