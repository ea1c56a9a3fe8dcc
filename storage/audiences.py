"""Audiences: who an email is for."""

from __future__ import annotations

from typing import NamedTuple

from storage.values import Address


class Audience(NamedTuple):
    """Who an email is for: everyone (perhaps less some lists), some lists less others, or named addresses."""

    lists: tuple[str, ...] = ()  # names as given, at most 100
    exclude_lists: tuple[str, ...] = ()
    to: tuple[Address, ...] = ()  # if not empty, `lists` and `exclude_lists` are empty


class AudienceCount(NamedTuple):
    """How many recipients an audience has now, and how many are left out because they are inactive."""

    recipients: int
    unsubscribed: int
    rejected: int


EVERYONE = Audience()
