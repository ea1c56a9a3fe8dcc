"""Addresses: checked without asking the DNS, and fast enough for a million in a few seconds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache
from urllib.parse import unquote

import email_validator

from database import Address
from intake.errors import ValidationError
from intake.invisible import unseen_character

LENGTH_LIMIT = 254  # bytes, RFC 5321 4.5.3.1.3 less the angle brackets
# By far the most local parts: letters, digits and a few signs, at most 64, that need no further look.
PLAIN_LOCAL = re.compile(r"(?=.{1,64}\Z)[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)

# Mail to these goes through a relay on this machine or in the same building, which email-validator,
# made for addresses of the whole world, does not expect.
LOCAL_NAMES = ("local", "localhost", "test")
HOME_NETWORK = "home.arpa"  # RFC 8375; all other names below .arpa are refused
for _name in (*LOCAL_NAMES, "arpa"):
    email_validator.SPECIAL_USE_DOMAIN_NAMES.remove(_name)

_ANGLED = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^<>"]*+)\s*<([^<>]*(?:"[^"]*"[^<>]*)?)>', re.DOTALL)
_DOTTED_LOCAL = re.compile(r"""[^\s"(),:;<>@\[\\\]]+""")
_NUMERIC_LABEL = re.compile("[0-9]+|0x[0-9a-f]*", re.IGNORECASE)  # the resolver takes these for IPv4 addresses


def clean_address(text: str, *, single_label: bool = False) -> Address:
    """Return the address in its sendable form. Raises ValidationError when it is not exactly one mailbox.

    Quoted local parts and address literals are accepted, in their shortest form. With `single_label`, so are domains
    without a dot. Spaces around the address are refused: callers that read files strip them.
    """
    if len(text) > LENGTH_LIMIT:  # first, since the slow way takes long over a long text
        raise ValidationError("address", f"is longer than {LENGTH_LIMIT} bytes")
    local, _, domain = text.rpartition("@")
    if PLAIN_LOCAL.fullmatch(local):
        sendable = f"{local}@{clean_domain(domain, single_label)}"
        address = Address(sendable, sendable.lower())
    else:
        local, domain = clean_unusual(text, single_label=single_label)
        address = Address(f"{local}@{domain}", f"{fold(local)}@{domain}")
    if len(address.text.encode()) > LENGTH_LIMIT:
        raise ValidationError("address", f"is longer than {LENGTH_LIMIT} bytes")
    return address


def distinct(addresses: Iterable[Address]) -> list[Address]:
    """Return each address once, in its first spelling and place."""
    found: dict[str, Address] = {}
    for address in addresses:
        found.setdefault(address.key, address)
    return list(found.values())


def clean_typed_address(text: str, *, single_label: bool = False) -> Address:
    """Do as clean_address with what a person typed or pasted: also `Name <address>`, and `mailto:` links (RFC 6068)."""
    text = text.strip()
    if len(text) <= 2 * LENGTH_LIMIT:
        if angled := _ANGLED.fullmatch(text):
            text = angled[1].strip()
        if text[:7].lower() == "mailto:":
            text = unquote(text[7:].partition("?")[0]).strip()
    return clean_address(text, single_label=single_label)


def stored_address(text: str) -> Address:
    """Return an address that was accepted once, by whichever rules held then, as `clean_address` returned it."""
    local, _, domain = text.rpartition("@")
    return Address(text, text.lower() if PLAIN_LOCAL.fullmatch(local) else f"{fold(local)}@{domain}")


@lru_cache(maxsize=10_000)
def clean_domain(domain: str, single_label: bool = False) -> str:
    """Return the domain in lower case, an international one as A-label, which every server takes."""
    return clean_unusual(f"a@{domain}", single_label=single_label)[1]


def clean_unusual(text: str, *, single_label: bool = False) -> tuple[str, str]:
    """Return local part and domain of any address, the slow way."""
    if fault := unseen_character(text):
        raise ValidationError("address", f"is not valid: {fault}")
    try:
        return _validated(text, single_label=single_label)
    except email_validator.EmailNotValidError as error:
        raise ValidationError("address", f"is not valid: {_dots_fault(text, single_label) or error}") from None


def _validated(text: str, *, single_label: bool) -> tuple[str, str]:
    domain = text.rpartition("@")[2].lower()
    may_lack_dot = domain == "localhost" or (single_label and not _NUMERIC_LABEL.fullmatch(domain))
    checked = email_validator.validate_email(
        text,
        check_deliverability=False,
        strict=True,
        allow_quoted_local=True,
        allow_domain_literal=True,
        globally_deliverable=not may_lack_dot or "." in domain,
    )
    domain = checked.ascii_domain
    if f".{domain}".endswith(".arpa") and not f".{domain}".endswith(f".{HOME_NETWORK}"):
        raise email_validator.EmailSyntaxError("Names below .arpa have no mailboxes, except those of home.arpa.")
    return checked.local_part, domain


def _dots_fault(text: str, single_label: bool) -> str | None:
    """Return how to write a local part whose dots are not allowed without quotation marks, if that is its fault."""
    local, _, domain = text.rpartition("@")
    if not (local.startswith(".") or local.endswith(".") or ".." in local) or not _DOTTED_LOCAL.fullmatch(local):
        return None
    quoted = f'"{local}"@{domain}'
    try:
        _validated(quoted, single_label=single_label)
    except email_validator.EmailNotValidError:
        return None
    return f"the part before the @ has a dot at its beginning or end, or two in a row, and must be quoted: {quoted}"


def fold(local: str) -> str:
    """Return the local part as it is compared. Not `casefold`: it would make groß and gross one person."""
    return unicodedata.normalize("NFC", local.lower().replace("ς", "σ"))
