"""The address of a client: read from what a proxy wrote, whatever its notation, and grouped for the rate limits.

A proxy names the client by a node (RFC 7239, section 6): `192.0.2.8`, `192.0.2.8:40001`, `"[2001:db8::1]:443"`,
`unknown` or `_hidden`. Only the address in it counts: the port changes with each connection. A node without an address
is NO_ADDRESS; all of these together are one client.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

NO_ADDRESS = "unknown"
MAX_NODE_LENGTH = 200  # characters
PORT = "(:([0-9]{1,5}|_[A-Za-z0-9._-]+)?)?"
# IPv4, IPv6 in brackets, or IPv6 without them; the port behind an address without brackets is found by trying.
NODE = re.compile(rf"(?:(?P<v4>[0-9]+(?:\.[0-9]+){{3}})|\[(?P<bracketed>[^\]]*)\]){PORT}|(?P<bare>[^\[\]]*:[^\[\]]*)")
LEADING_ZEROS = re.compile(r"\b0+(?=[0-9])")
IPV4_NETWORKS = tuple(ip_network(text) for text in ("::ffff:0:0/96", "::ffff:0:0:0/96", "::/96", "64:ff9b::/96"))
# RFC 7239, section 4. A quoted string may hold commas and semicolons.
_PAIR = r"""[!#$%&'*+.^_`|~A-Za-z0-9-]+=(?:[!#$%&'*+.^_`|~A-Za-z0-9:\[\]-]+|"(?:[^"\\]|\\.)*")"""
FORWARDED_ELEMENT = re.compile(rf"[ \t]*+({_PAIR}(?:[ \t]*+;[ \t]*+{_PAIR})*)?[ \t]*+(,|$)")
FORWARDED_PAIR = re.compile(_PAIR)


class ClientAddress:
    """WSGI middleware: REMOTE_ADDR becomes the address that the `proxies`-th proxy from here saw.

    It is read from X-Forwarded-For or, without that header, from Forwarded. If the header has fewer entries, the
    address stays that of the nearest proxy.
    """

    def __init__(self, app: WSGIApplication, proxies: int) -> None:
        self._app = app
        self._proxies = proxies

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        nodes = _nodes(environ)
        if len(nodes) >= self._proxies:
            environ["REMOTE_ADDR"] = address_of(nodes[-self._proxies])
        return self._app(environ, start_response)


def _nodes(environ: WSGIEnvironment) -> list[str]:
    forwarded_for = environ.get("HTTP_X_FORWARDED_FOR")
    if forwarded_for is None:
        return forwarded_nodes(environ.get("HTTP_FORWARDED", ""))
    # No node holds a comma. Quotation marks are not honoured: one from the client could hide what proxies added.
    return str(forwarded_for).split(",") if forwarded_for else []


def forwarded_nodes(header: str) -> list[str]:
    """Return the node of each element of a Forwarded header, NO_ADDRESS if it has none; [] if it is malformed."""
    nodes, position = [], 0
    while header and position <= len(header):
        element = FORWARDED_ELEMENT.match(header, position)
        if element is None:
            return []
        if element[1]:
            pairs = (pair.partition("=") for pair in FORWARDED_PAIR.findall(element[1]))
            nodes.append(next((value for name, _, value in pairs if name.lower() == "for"), NO_ADDRESS))
        if not element[2]:
            break
        position = element.end()
    return nodes


def address_of(node: str) -> str:
    """Return the address in a node, in its shortest form and without port and zone; NO_ADDRESS if there is none."""
    text = node[:MAX_NODE_LENGTH].replace("\\", "").strip("\"' \t")
    match = NODE.fullmatch(text)
    if match is None:
        return NO_ADDRESS
    if match["bare"] is not None:
        return _address(match["bare"]) or _address(match["bare"].rpartition(":")[0]) or NO_ADDRESS
    return _address(LEADING_ZEROS.sub("", match["v4"]) if match["v4"] else match["bracketed"]) or NO_ADDRESS


def client_of(address: str) -> str:
    """Return whom an address stands for: itself, or the IPv6 network of 64 bits that a client has for itself."""
    if ":" not in address:
        return address
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(ip_network((int(parsed) >> 64 << 64, 64)))
    return address if parsed is None else str(parsed)


def _address(text: str) -> str | None:
    parsed = _parsed(text)
    return None if parsed is None else str(parsed)


def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Return an address without its zone; as IPv4 if it only stands for one (RFC 4291, RFC 6052, RFC 7915)."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and int(address) > 0xFFFF and any(address in each for each in IPV4_NETWORKS):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address
