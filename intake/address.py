"""Addresses: checked without asking the DNS, and fast enough for a million in a few seconds."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import email_validator

from database import Address
from intake.errors import ValidationError

LENGTH_LIMIT = 254  # bytes, RFC 5321 4.5.3.1.3 less the angle brackets
# By far the most local parts: letters, digits and a few signs, at most 64, that need no further look.
PLAIN_LOCAL = re.compile(r"(?=.{1,64}\Z)[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*", re.ASCII)

# Mail to these goes through a relay on this machine or in the same building, which email-validator,
# made for addresses of the whole world, does not expect.
LOCAL_NAMES = ("local", "localhost", "test")
for _name in LOCAL_NAMES:
    email_validator.SPECIAL_USE_DOMAIN_NAMES.remove(_name)


def clean_address(text: str) -> Address:
    """The address in its sendable form; ValidationError when it is not exactly one mailbox.

    Quoted local parts and address literals are taken, in their shortest form. Spaces around it are refused:
    whoever reads a file takes them off first.
    """
    if len(text) > LENGTH_LIMIT:  # first, since the slow way takes long over a long text
        raise ValidationError("address", f"is longer than {LENGTH_LIMIT} bytes")
    local, _, domain = text.rpartition("@")
    if PLAIN_LOCAL.fullmatch(local):
        sendable = f"{local}@{clean_domain(domain)}"
        address = Address(sendable, sendable.lower())
    else:
        local, domain = clean_unusual(text)
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


@lru_cache(maxsize=10_000)
def clean_domain(domain: str) -> str:
    """The domain in lower case, an international one as A-label, which every server takes."""
    return clean_unusual(f"a@{domain}")[1]


def clean_unusual(text: str) -> tuple[str, str]:
    """Local part and domain of any address, the slow way."""
    try:
        checked = email_validator.validate_email(
            text,
            check_deliverability=False,
            strict=True,
            allow_quoted_local=True,
            allow_domain_literal=True,
            globally_deliverable=not text.lower().endswith("@localhost"),
        )
    except email_validator.EmailNotValidError as error:
        raise ValidationError("address", f"is not valid: {error}") from None
    return checked.local_part, checked.ascii_domain


def fold(local: str) -> str:
    """The local part as it is compared. Not `casefold`: it would make groß and gross one person."""
    return unicodedata.normalize("NFC", local.lower().replace("ς", "σ"))
