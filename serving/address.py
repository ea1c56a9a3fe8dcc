"""HOST and PORT: the address of the service, reserved before anything starts."""

from __future__ import annotations

import errno
import os
import socket
import sys
from collections.abc import Mapping
from ipaddress import ip_address
from typing import NamedTuple

from settings.catalogue import SETTINGS
from settings.defaults import DEFAULTS
from settings.parse import RefusedError, refuse_quotation_marks


class AddressError(Exception):
    """The service cannot listen at this address. The message says what to do instead."""


class Address(NamedTuple):
    """A reserved address; `host` is an IP address. While `holder` is open, no second service can use the port."""

    host: str
    port: int
    holder: socket.socket

    @property
    def url(self) -> str:
        """The URL of the service for a client on this machine."""
        host = self.host
        if ip_address(host).is_unspecified:
            host = "::1" if ":" in host else "127.0.0.1"
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"

    @property
    def is_public(self) -> bool:
        """Whether other machines can reach the service."""
        return not ip_address(self.host).is_loopback

    def answers(self) -> bool:
        """Return whether something accepts connections at the address now."""
        host = "::1" if self.host == "::" else self.host.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        with socket.socket(self.holder.family) as client:
            client.settimeout(1.0)
            return client.connect_ex((host, self.port)) == 0


def reserve(environ: Mapping[str, str], command: str) -> Address:
    """Return the address in HOST and PORT, bound but not listening. `command` is the command to suggest in errors."""
    host = environ.get("HOST") or DEFAULTS["HOST"]
    port = environ.get("PORT") or DEFAULTS["PORT"]
    for name, value in (("HOST", host), ("PORT", port)):
        try:
            refuse_quotation_marks(value)
        except RefusedError as refused:
            raise AddressError(f"{name}={value!r}: {refused}") from None
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 1 <= int(port) <= 65535):
        raise AddressError(f"PORT={port!r}: {SETTINGS['PORT'].rule}")
    try:
        family, _, _, _, where = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise AddressError(f"HOST={host!r}: {SETTINGS['HOST'].rule}") from None
    return Address(str(where[0]), int(port), _bound(family, where, host, port, command))


def _bound(family: int, where: tuple[object, ...], host: str, port: str, command: str) -> socket.socket:
    holder = socket.socket(family)
    if os.name == "posix":  # ignores old connections; on Windows it would also ignore a server
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        holder.bind(where)
    except OSError as error:
        holder.close()
        raise AddressError(_reason(error, host, port, command)) from None
    if sys.platform == "linux":  # granian binds with SO_REUSEPORT, so it can share the port; a second start cannot
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return holder


def _reason(error: OSError, host: str, port: str, command: str) -> str:
    other = "5001" if port != "5001" else "5002"
    remedy = f"set PORT={other} && {command}" if os.name == "nt" else f"PORT={other} {command}"
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is already in use. Use another one: {remedy}"
    if error.errno == errno.EACCES:
        return f"Port {port} requires more privileges. Use another one: {remedy}"
    return f"HOST={host!r} is not an address of this machine ({error.strerror})"
