"""Say in words who an email is for."""

from __future__ import annotations

from collections.abc import Sequence

from database import Audience, AudienceCount
from monitoring.humanize import pluralize

MAX_NAMED = 3  # addresses that are named one by one


def audience_words(audience: Audience) -> str:
    """Return who an email is for, such as `the lists Gala and Staff, except members of News`."""
    if audience.to:
        return _named([address.text for address in audience.to])
    if audience.lists:
        lists = f"the list{'s' if len(audience.lists) > 1 else ''} {joined(audience.lists)}"
    else:
        lists = "all active recipients"
    return f"{lists}, except members of {joined(audience.exclude_lists)}" if audience.exclude_lists else lists


def audience_name(audience: Audience) -> str:
    """Return who an email is for in a few words, such as `Gala and Staff` or `Everyone except News`."""
    name = _named([address.text for address in audience.to]) or joined(audience.lists) or "Everyone"
    return f"{name} except {joined(audience.exclude_lists)}" if audience.exclude_lists else name


def left_out_words(count: AudienceCount) -> str:
    """Return who is left out, such as `3 unsubscribed and 1 rejected`; empty if nobody is."""
    parts = [f"{number:,} {word}" for word in ("unsubscribed", "rejected") if (number := getattr(count, word))]
    return " and ".join(parts)


def joined(words: Sequence[str]) -> str:
    """Return `a`, `a and b`, or `a, b and c`."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)


def _named(addresses: Sequence[str]) -> str:
    if len(addresses) <= MAX_NAMED:
        return joined(addresses)
    return pluralize(len(addresses), "named address", "named addresses")
