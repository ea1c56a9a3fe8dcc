"""A recipient's address, as it is sent to and as it is compared."""

from __future__ import annotations

from typing import NamedTuple


class Address(NamedTuple):
    """An address that was checked: `text` is what mail is sent to, equal `key`s are the same recipient."""

    text: str  # local part as it was given, in NFC; domain in lower case, an international one as A-label
    key: str  # the same with the local part in lower case
