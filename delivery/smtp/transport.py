"""Sockets, TLS and time. No other module of `delivery.smtp` uses them directly.

Sockets are non-blocking and polled with level-triggered epoll, or with `selectors` where epoll is not available. TLS
works on memory buffers, so encrypted bytes take the same path as plain ones.
"""

from __future__ import annotations

import errno
import os
import select
import selectors
import socket
import ssl
import time
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

from delivery.smtp.helo_name import address_literal, qualified_name

monotonic = time.monotonic
wall_clock = time.time

_READ_BYTES = 4 * 1024  # replies are short
TLS_RECORD_BYTES = 16 * 1024  # the maximum plain bytes in one TLS record
READ, WRITE = 1, 4  # EPOLLIN and EPOLLOUT


class Address(NamedTuple):
    """One of the addresses of a host."""

    family: int
    socket_address: Any

    def __str__(self) -> str:
        return f"[{self.socket_address[0]}]:{self.socket_address[1]}"

    @property
    def is_loopback(self) -> bool:
        """Whether the address is on this host."""
        name = str(self.socket_address[0])
        return name == "::1" or name.startswith("127.")


def resolve(host: str, port: int) -> list[Address]:
    """Return the addresses of a host in the system's order of preference (RFC 6724). Raises OSError."""
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(Address(family, address) for family, _, _, _, address in infos))


@lru_cache(maxsize=16)
def ehlo_name(address: Address) -> str:
    """Return the name for EHLO: the host name if it is fully qualified, or else the local IP address."""
    name = qualified_name(socket.gethostname())
    if name is not None:
        return name
    with socket.socket(address.family, socket.SOCK_DGRAM) as probe:  # connecting a UDP socket sends nothing
        probe.connect(address.socket_address)
        return address_literal(str(probe.getsockname()[0]))


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Return a context that verifies certificates and names, against the system's authorities or those in `ca_file`."""
    return ssl.create_default_context(cafile=ca_file)


def new_poller() -> Poller:
    """Return an epoll object, or a substitute on systems without epoll."""
    return select.epoll() if hasattr(select, "epoll") else SelectorPoller()


class Poller(Protocol):
    """The part of `select.epoll` that the loop uses."""

    def register(self, fd: int, mask: int, /) -> None: ...
    def modify(self, fd: int, mask: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...
    def poll(self, timeout: float, /) -> list[tuple[int, int]]: ...
    def close(self) -> None: ...


class SelectorPoller:
    """A Poller on top of `selectors`, for systems without epoll."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.close = self._selector.close

    def register(self, fd: int, mask: int) -> None:
        """Watch `fd`. The write event is 2 in `selectors` and 4 in epoll."""
        self._selector.register(fd, mask & READ | (mask & WRITE) >> 1)

    def modify(self, fd: int, mask: int) -> None:
        """Change the events that `fd` is watched for."""
        self._selector.modify(fd, mask & READ | (mask & WRITE) >> 1)

    def unregister(self, fd: int) -> None:
        self._selector.unregister(fd)

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        """Wait up to `timeout` seconds. Return the ready descriptors, each with its events."""
        return [(key.fd, mask & 1 | (mask & 2) << 1) for key, mask in self._selector.select(timeout)]


class Tls:
    """TLS over memory buffers: bytes in, bytes out, no socket. Raises OSError."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = host.removesuffix(".")  # RFC 6066, section 3; only DNS needs the dot
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.ready = False
        self._error: OSError | None = None  # raised by the next call, after the plain bytes that came before it

    def feed(self, data: bytes) -> bytes | None:
        """Decrypt bytes from the network. Return None if there are no plain bytes yet, b"" if the server closed TLS."""
        if self._error:
            raise self._error
        self._incoming.write(data)
        self.ready = self.ready or self.handshake()
        plain = b""
        try:
            while self.ready and (piece := self._object.read(_READ_BYTES)):
                plain += piece
                if not self._object.pending() and not self._incoming.pending:
                    return plain  # another read would only raise a slow exception
        except ssl.SSLWantReadError:
            return plain or None
        except OSError as error:
            if not plain:
                raise
            self._error = error
        return plain if self.ready else None

    def handshake(self) -> bool:
        """Continue the handshake as far as the received bytes allow. Return whether TLS is established."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    @property
    def version(self) -> str | None:
        """The negotiated version, such as TLSv1.3."""
        return self._object.version()

    @property
    def certificate_expires_at(self) -> float | None:
        """When the server's certificate expires, in seconds since 1970 UTC."""
        certificate = self._object.getpeercert()
        return float(ssl.cert_time_to_seconds(str(certificate["notAfter"]))) if certificate else None

    def fits_one_record(self, plain: bytes) -> bool:
        """Return whether `plain` can be encrypted now as a single record."""
        return self.ready and 0 < len(plain) <= TLS_RECORD_BYTES

    def encrypt(self, plain: bytes | memoryview) -> bytes:
        """Encrypt plain bytes. Return all bytes that TLS has for the network."""
        if plain:
            self._object.write(plain)
        return self._outgoing.read() if self._outgoing.pending else b""


def speaks_tls(address: Address, timeout: float = 1.5) -> bool:
    """Return whether the server responds to a TLS handshake, whatever its certificate. Blocks for up to `timeout`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing).do_handshake()
    try:
        with socket.socket(address.family, socket.SOCK_STREAM) as probe:
            probe.settimeout(timeout)
            probe.connect(address.socket_address)
            probe.sendall(outgoing.read())
            return probe.recv(1) in (b"\x15", b"\x16")  # an alert or a handshake record
    except OSError:
        return False


def start_connect(address: Address) -> socket.socket:
    """Return a socket that is connecting. Raises OSError if the attempt cannot start."""
    connecting = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        error = connecting.connect_ex(address.socket_address)
        if error not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise OSError(error, os.strerror(error))
    except BaseException:
        connecting.close()
        raise
    return connecting


def connect_error(connecting: socket.socket) -> OSError | None:
    """Return the connection error of a socket that has become writable, or None if it is connected."""
    error = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(error, os.strerror(error)) if error else None


def describe_error(error: OSError) -> str:
    """Return the text of an error for logs. For TLS, the reason without OpenSSL's source locations."""
    for name in ("verify_message", "reason"):
        tls_reason = getattr(error, name, None)
        if tls_reason:
            return f"TLS: {tls_reason}"
    return error.strerror or str(error)
