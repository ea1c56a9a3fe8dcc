"""Check addresses without the DNS, and fast enough for a million in a few seconds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from urllib.parse import unquote

import email_validator

from database import Address
from intake.errors import ValidationError
from intake.invisible import unseen_character

LENGTH_LIMIT = 254  # bytes, RFC 5321 4.5.3.1.3 less the angle brackets
# Most local parts: at most 64 letters, digits and a few signs. They need no further check.
PLAIN_LOCAL = re.compile(r"(?=.{1,64}\Z)[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)

# email-validator rejects these names because they do not exist on the Internet. Here they may belong to a relay on
# this machine or in the local network.
LOCAL_NAMES = ("local", "localhost", "test")
HOME_NETWORK = "home.arpa"  # RFC 8375; all other names below .arpa are refused
for _name in (*LOCAL_NAMES, "arpa"):
    email_validator.SPECIAL_USE_DOMAIN_NAMES.remove(_name)

_ANGLED = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^<>"]*+)\s*<([^<>]*(?:"[^"]*"[^<>]*)?)>', re.DOTALL)
# A part between commas and semicolons that are neither quoted nor in angle brackets.
_PARTS = re.compile(r"""(?:"[^"]*+"|<[^<>]*+>|[^,;])+""")
_ONE_ANGLED = re.compile("[^<>]*<[^<>@]*@[^<>]*>")
_SEVERAL_ANGLED = re.compile(rf"(?:{_ONE_ANGLED.pattern})+\s*")
_PUNCTUATION = re.compile(r"[^\w@]+")
_NOT_IN_NAMES = re.compile(r"[\d<>]|\w\.\w")
_DOTTED_LOCAL = re.compile(r"""[^\s"(),:;<>@\[\\\]]+""")
_NUMERIC_LABEL = re.compile("[0-9]+|0x[0-9a-f]*", re.IGNORECASE)  # the resolver reads these as IPv4 addresses


def clean_address(text: str, *, single_label: bool = False) -> Address:
    """Return the address in the form in which it is sent. Raises ValidationError if it is not exactly one mailbox.

    Quoted local parts and address literals are accepted and shortened. With `single_label`, domains without a dot are
    accepted too. Spaces around the address are refused, so callers that read files strip them first.
    """
    if len(text) > LENGTH_LIMIT:  # checked first, because clean_unusual is slow for a long text
        raise ValidationError("address", f"is too long (limit: {LENGTH_LIMIT} bytes)")
    local, _, domain = text.rpartition("@")
    if PLAIN_LOCAL.fullmatch(local):
        sendable = f"{local}@{clean_domain(domain, single_label)}"
        if len(sendable) <= LENGTH_LIMIT and sendable.isascii():  # most addresses
            return Address(sendable, sendable.lower())
        address = Address(sendable, sendable.lower())
    else:
        local, domain = clean_unusual(text, single_label=single_label)
        address = Address(f"{local}@{domain}", f"{fold(local)}@{domain}")
    if len(address.text.encode()) > LENGTH_LIMIT:
        raise ValidationError("address", f"is too long (limit: {LENGTH_LIMIT} bytes)")
    return address


def distinct(addresses: Iterable[Address]) -> list[Address]:
    """Return the addresses without duplicates; the first spelling wins."""
    found: dict[str, Address] = {}
    for address in addresses:
        found.setdefault(address.key, address)
    return list(found.values())


def clean_typed_address(text: str, *, single_label: bool = False) -> Address:
    """Like `clean_address`, but also accept what people paste: `Name <address>` and `mailto:` links (RFC 6068)."""
    text = text.strip()
    if len(text) <= 2 * LENGTH_LIMIT:
        if angled := _ANGLED.fullmatch(text):
            text = angled[1].strip()
        if text[:7].lower() == "mailto:":
            text = unquote(text[7:].partition("?")[0]).strip()
    return clean_address(text, single_label=single_label)


def split_addresses(text: str) -> list[tuple[int, str]]:
    """Return the addresses in a text that a person typed or pasted, unchecked, with the numbers of their lines.

    They are separated by commas, semicolons, line breaks or spaces, and may have names, as in `Ada <ada@example.com>`.
    Words without an @ are never dropped, except names: before an address in angle brackets, and in cells of a table
    (separated by tabs). So `bob smith@example.com` stays whole, and is invalid: it may stand for bob.smith.
    """
    return [(number, entry) for number, line in enumerate(text.splitlines(), 1) for entry in _split_line(line) if entry]


def _split_line(line: str) -> Iterator[str]:
    parts = [part.strip() for part in _PARTS.findall(line)]
    for place, part in enumerate(parts):
        following = parts[place + 1][: 4 * LENGTH_LIMIT] if place + 1 < len(parts) else ""
        if _is_first_part_of_name(part) and "<" in following and _ANGLED.fullmatch(following):
            continue  # Lovelace, Ada <ada@example.com>
        if len(part) > 4 * LENGTH_LIMIT or '"' in part or _ANGLED.fullmatch(part):
            yield part
        elif _SEVERAL_ANGLED.fullmatch(part):
            yield from (each[0].strip() for each in _ONE_ANGLED.finditer(part))
        elif "\t" in part:
            cells = [cell.strip() for cell in part.split("\t")]
            yield from [cell for cell in cells if "@" in cell] or [part]
        else:
            words = [word for word in part.split() if not _PUNCTUATION.fullmatch(word)]
            yield from words if all("@" in word for word in words) else [part]


def _is_first_part_of_name(part: str) -> bool:
    return "@" not in part and not _NOT_IN_NAMES.search(part)


def stored_address(text: str) -> Address:
    """Return an address as `clean_address` returned it when it was saved, even if the rules have changed since."""
    local, _, domain = text.rpartition("@")
    return Address(text, text.lower() if PLAIN_LOCAL.fullmatch(local) else f"{fold(local)}@{domain}")


@lru_cache(maxsize=10_000)
def clean_domain(domain: str, single_label: bool = False) -> str:
    """Return the domain in lower case. International labels become A-labels, which every server accepts."""
    return clean_unusual(f"a@{domain}", single_label=single_label)[1]


def clean_unusual(text: str, *, single_label: bool = False) -> tuple[str, str]:
    """Return the local part and domain of any address. Slow."""
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
        raise email_validator.EmailSyntaxError("Names below .arpa have no mailboxes, except those in home.arpa.")
    return checked.local_part, domain


def _dots_fault(text: str, single_label: bool) -> str | None:
    """Return how to quote the address, if the only problem is the dots in its local part; otherwise None."""
    local, _, domain = text.rpartition("@")
    if not (local.startswith(".") or local.endswith(".") or ".." in local) or not _DOTTED_LOCAL.fullmatch(local):
        return None
    quoted = f'"{local}"@{domain}'
    try:
        _validated(quoted, single_label=single_label)
    except email_validator.EmailNotValidError:
        return None
    return f"the part before the @ starts or ends with a dot, or has two in a row, and must be quoted: {quoted}"


def fold(local: str) -> str:
    """Return the local part in the form used for comparison. `casefold` would treat groß and gross as equal."""
    return unicodedata.normalize("NFC", local.lower().replace("ς", "σ"))
