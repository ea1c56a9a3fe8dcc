"""The name of this host in EHLO and HELO (RFC 5321, sections 4.1.1.1, 4.1.2 and 4.1.3)."""

from __future__ import annotations

import re

MAX_NAME_LENGTH = 253  # characters

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_QUALIFIED = re.compile(rf"(?:{_LABEL}\.)+(?![0-9]+$){_LABEL}")  # 10.0.0.5 does not end with a top-level domain
_NOWHERE = re.compile(r"localhost\..*|.*\.(?:localhost|localdomain)", re.IGNORECASE)


def qualified_name(host_name: str) -> str | None:
    """Return the host name if it is a fully qualified domain name, or None; then use its address."""
    name = host_name.removesuffix(".")
    is_qualified = len(name) <= MAX_NAME_LENGTH and _QUALIFIED.fullmatch(name) and not _NOWHERE.fullmatch(name)
    return name if is_qualified else None


def address_literal(address: str) -> str:
    """Return an IP address in the form that EHLO takes, without the zone of a link-local address."""
    address = address.partition("%")[0]
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"
