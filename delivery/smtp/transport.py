"""Sockets, TLS and time: the only file of `delivery.smtp` that knows of them, and it knows of nothing else.

Sockets are non-blocking, waited for with epoll, level-triggered (`selectors` where there is no epoll). TLS is
bytes in, bytes out, by memory buffers, so that it takes the same path as plain bytes.
"""

from __future__ import annotations

import errno
import os
import select
import selectors
import socket
import ssl
import time
from functools import lru_cache
from typing import Any, NamedTuple, Protocol

monotonic = time.monotonic
wall_clock = time.time

_PIECE = 4 * 1024  # replies are short
RECORD = 16 * 1024  # what TLS puts into one record
READ, WRITE = 1, 4  # EPOLLIN and EPOLLOUT


class Address(NamedTuple):
    """One of the addresses of a host."""

    family: int
    socket_address: Any

    def __str__(self) -> str:
        return f"[{self.socket_address[0]}]:{self.socket_address[1]}"

    @property
    def is_loopback(self) -> bool:
        """Whether it is this same host."""
        name = str(self.socket_address[0])
        return name == "::1" or name.startswith("127.")


def resolve(host: str, port: int) -> list[Address]:
    """The addresses of a host in the system's order of preference (RFC 6724). Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(Address(family, address) for family, _, _, _, address in found))


@lru_cache(maxsize=16)
def own_name(address: Address) -> str:
    """The name for EHLO: this host's if it is a full one, else the address from which `address` is reached."""
    name = socket.gethostname()
    if "." in name and name.isascii():
        return name
    with socket.socket(address.family, socket.SOCK_DGRAM) as probe:  # connecting it sends nothing
        probe.connect(address.socket_address)
        own = str(probe.getsockname()[0])
    return f"[IPv6:{own}]" if ":" in own else f"[{own}]"


def tls_context(ca_file: str | None = None) -> ssl.SSLContext:
    """Certificates and names are checked, against the system's authorities or those of a file."""
    return ssl.create_default_context(cafile=ca_file)


def new_poller() -> Poller:
    """epoll where there is one."""
    return select.epoll() if hasattr(select, "epoll") else SelectorPoller()


class Poller(Protocol):
    """What `select.epoll` offers."""

    def register(self, fd: int, mask: int, /) -> None: ...
    def modify(self, fd: int, mask: int, /) -> None: ...
    def unregister(self, fd: int, /) -> None: ...
    def poll(self, timeout: float, /) -> list[tuple[int, int]]: ...
    def close(self) -> None: ...


class SelectorPoller:
    """The same from `selectors`, for systems without epoll."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self.close = self._selector.close

    def register(self, fd: int, mask: int) -> None:
        """Watch `fd`; selectors say 2 where epoll says 4."""
        self._selector.register(fd, mask & READ | (mask & WRITE) >> 1)

    def modify(self, fd: int, mask: int) -> None:
        """Watch it for something else."""
        self._selector.modify(fd, mask & READ | (mask & WRITE) >> 1)

    def unregister(self, fd: int) -> None:
        """Watch it no more."""
        self._selector.unregister(fd)

    def poll(self, timeout: float) -> list[tuple[int, int]]:
        """What is ready, at the latest after `timeout` seconds."""
        return [(key.fd, mask & 1 | (mask & 2) << 1) for key, mask in self._selector.select(timeout)]


class Tls:
    """TLS over memory buffers: bytes in, bytes out, no socket. Its errors are OSErrors."""

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self.ready = False
        self._error: OSError | None = None  # what came behind plain bytes that had to be handed out first

    def feed(self, data: bytes) -> bytes | None:
        """The plain bytes in the network's; None: none yet; b"": the server ended TLS."""
        if self._error:
            raise self._error
        self._incoming.write(data)
        self.ready = self.ready or self.handshake()
        plain = b""
        try:
            while self.ready and (piece := self._object.read(_PIECE)):
                plain += piece
                if not self._object.pending() and not self._incoming.pending:
                    return plain  # reading on would cost an exception to say that there is no more
        except ssl.SSLWantReadError:
            return plain or None
        except OSError as error:
            if not plain:
                raise
            self._error = error
        return plain if self.ready else None

    def handshake(self) -> bool:
        """Go on as far as the server's bytes allow; True once TLS stands."""
        try:
            self._object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    @property
    def version(self) -> str | None:
        """What was agreed on, such as TLSv1.3."""
        return self._object.version()

    @property
    def certificate_ends_at(self) -> float | None:
        """Until when the server's certificate holds, in seconds since 1970 UTC."""
        certificate = self._object.getpeercert()
        return float(ssl.cert_time_to_seconds(str(certificate["notAfter"]))) if certificate else None

    def takes(self, plain: bytes) -> bool:
        """Whether `plain` makes one record, now."""
        return self.ready and 0 < len(plain) <= RECORD

    def encrypt(self, plain: bytes | memoryview) -> bytes:
        """The network's bytes for plain ones, and whatever else TLS has to say."""
        if plain:
            self._object.write(plain)
        return self._outgoing.read() if self._outgoing.pending else b""


def begin_connect(address: Address) -> socket.socket:
    """A socket that is connecting. OSError: it cannot even begin."""
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
    """What became of it, once it can be written; None: it is connected."""
    error = connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return OSError(error, os.strerror(error)) if error else None


def reason(error: OSError) -> str:
    """The error for people: a TLS error says what does not hold of the certificate, without source lines."""
    for name in ("verify_message", "reason"):
        said = getattr(error, name, None)
        if said:
            return f"TLS: {said}"
    return error.strerror or str(error)
