"""HOST and PORT: where the service listens, held for it before anything is started."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from typing import NamedTuple

from settings.parse import RefusedError, refuse_quotation_marks


class AddressError(Exception):
    """The service cannot listen there; says what to do instead."""


class Address(NamedTuple):
    """`host` is an IP address. As long as `holder` is open, no second start can take the same port."""

    host: str
    port: int
    holder: socket.socket

    @property
    def url(self) -> str:
        """Where a client on this machine reaches the service."""
        host = self.host
        if ip_address(host).is_unspecified:
            host = "::1" if ":" in host else "127.0.0.1"
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach it."""
        return not ip_address(self.host).is_loopback

    def answers(self) -> bool:
        """Whether something listens there now."""
        host = "::1" if self.host == "::" else self.host.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        with socket.socket(self.holder.family) as client:
            client.settimeout(1.0)
            return client.connect_ex((host, self.port)) == 0


def reserve(environ: Mapping[str, str], command: str) -> Address:
    """The address that HOST and PORT name, bound but not listening. `command` starts the service again."""
    host = environ.get("HOST") or "127.0.0.1"
    port = environ.get("PORT") or "5000"
    for name, value in (("HOST", host), ("PORT", port)):
        try:
            refuse_quotation_marks(value)
        except RefusedError as refused:
            raise AddressError(f"{name}={value!r}: {refused}") from None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise AddressError(f"PORT={port!r}: allowed: a whole number from 1 to 65535")
    try:
        family, _, _, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise AddressError(f"HOST={host!r}: allowed: an address or name of this machine, such as 127.0.0.1") from None
    return Address(str(where[0]), int(port), _bound(family, where, host, port, command))


def _bound(family: int, where: tuple[object, ...], host: str, port: str, command: str) -> socket.socket:
    holder = socket.socket(family)
    if os.name == "posix":  # there it means "although old connections linger"; on Windows "although it is taken"
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind(where)
    except OSError as error:
        holder.close()
        raise AddressError(_reason(error, host, port, command)) from None
    if sys.platform == "linux":  # granian binds with SO_REUSEPORT, so it may join, and a second start may not
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return holder


def _reason(error: OSError, host: str, port: str, command: str) -> str:
    other = "5001" if port != "5001" else "5002"
    remedy = f"set PORT={other} && {command}" if os.name == "nt" else f"PORT={other} {command}"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} of {host} is taken by another program; start with another one: {remedy}"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this user has; start with another one: {remedy}"
    return f"HOST={host!r}: this machine cannot listen there ({error.strerror}); allowed: one of its own addresses"
