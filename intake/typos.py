"""Guess which known name was meant by a misspelt one."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

MAX_LENGTH = 60  # characters of a name that is compared; comparing takes time in proportion to the square


def closest(name: str, known: Collection[str], prefix: str = "") -> str | None:
    """Return the one of `known` that was probably meant, or None. A `prefix` that all of them have is not compared."""
    rest = name.strip().lower().removeprefix(prefix)
    if len(rest) > MAX_LENGTH:
        return None
    found = get_close_matches(rest, [each.removeprefix(prefix) for each in known], n=1)
    return prefix + found[0] if found else None
