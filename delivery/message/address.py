"""Addresses in the form used in header fields: the local part unchanged, the domain as A-labels."""

from __future__ import annotations

import re
from functools import lru_cache
from unicodedata import normalize

from delivery.errors import MessageError
from delivery.lazy_pattern import LazyPattern

MAX_ADDRESS_LENGTH = 320  # octets: 64 for the local part, 255 for the domain, one for the @ (RFC 5321, 4.5.3.1)

# The octets of nearly every address. Deleting them and checking the rest is the cheapest test in Python; all other
# addresses get the exact check.
_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=^_`{|}~."  # no ?
_AT = ord("@")

# An atom or a quoted string, in UTF-8. Every non-ASCII character may be part of an atom (RFC 6532).
_LOCAL = re.compile(
    rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.\x80-\xff-]+"
    rb'|"(?:[ !#-\[\]-~\x80-\xff]|\\[ -~])*+"'
)
_DOMAIN = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*+|\[[0-9A-Za-z:.]+\]")

_DOTS = LazyPattern("[.\u3002\uff0e\uff61]")  # RFC 3490: characters that people type as a dot
_NOT_IN_2003 = LazyPattern("[\xdf\u1e9e\u03c2\u200c\u200d]")


@lru_cache(maxsize=64)  # called twice for each message: for RCPT and for the To field
def header_address(address: str) -> bytes:
    """Return the address in the form used in header fields. Raises MessageError if it is not one valid address."""
    octets = address.encode("utf-8", "replace")
    if octets.translate(None, _PLAIN) == b"@" and octets[0] != _AT != octets[-1] and len(octets) <= MAX_ADDRESS_LENGTH:
        return octets
    return _checked_address(address)


def domain_of(address: bytes) -> str:
    """Return the domain of an address that `header_address` returned."""
    return address.rpartition(b"@")[2].decode("ascii")


def _checked_address(address: str) -> bytes:
    if len(address) > MAX_ADDRESS_LENGTH:
        raise MessageError(f"{_short(address)} is too long for an address")
    local, _, domain = address.rpartition("@")
    # A server on the way might decode anything that looks like an encoded word.
    if not local.isprintable() or not _LOCAL.fullmatch(local.encode("utf-8")) or "=?" in local:
        raise MessageError(f"{_short(address)} is not a valid address")
    octets = f"{local}@{ascii_domain(domain)}".encode()
    if len(octets) > MAX_ADDRESS_LENGTH:
        raise MessageError(f"{_short(address)} is too long for an address")
    return octets


def _short(text: str) -> str:
    """Shorten and escape a text, so that an error message stays on one line."""
    return ascii(text if len(text) <= 60 else text[:20] + "...")


@lru_cache(maxsize=4096)
def ascii_domain(domain: str) -> str:
    """Return the domain as A-labels (IDNA 2008). ASCII domains and address literals stay unchanged.

    Raises MessageError if it is not a domain.
    """
    try:
        name = domain if domain.isascii() else ".".join(map(_a_label, _DOTS.sub(".", domain).split(".")))
    except UnicodeError as error:
        raise MessageError(f"{_short(domain)} is not a valid domain: {error}") from error
    if not _DOMAIN.fullmatch(name):
        raise MessageError(f"{_short(domain)} is not a valid domain")
    return name


def _a_label(label: str) -> str:
    if not _NOT_IN_2003.search(label):
        return label.encode("idna").decode("ascii")
    # The standard library implements only IDNA 2003, which turns straße.example into a different domain.
    return "xn--" + normalize("NFC", label.lower()).encode("punycode").decode("ascii")
