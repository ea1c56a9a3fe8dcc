"""The messages of the outbox as a list: a page at a time, grouped by email, and reduced by a search."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

from delivery.maildir.parsed_message import MAX_HEADER_BYTES, ParsedMessage, parse_fields
from delivery.maildir.reader import Listing, open_message

PAGE_SIZE = 50
MAX_SEARCHED = 2_000  # messages that one page of a search reads
LISTED_FIELDS = ("to", "subject")
EMAIL = re.compile(r"([0-9]{10}\.[^.]+)\.[0-9]+(?::.*)?")  # the messages of one email have the same first part


class Saved(NamedTuple):
    """A message in the Maildir."""

    name: str
    message: ParsedMessage
    saved_at: datetime
    size: int


class Group(NamedTuple):
    """Messages of one email. `total` also counts those that are not among `messages`."""

    subject: str
    total: int
    messages: list[Saved]


class Page(NamedTuple):
    """Some messages, newest first. The next page begins after the name `following`, if there is one."""

    messages: list[Saved]
    following: str | None
    searched: int

    def beside(self, name: str) -> tuple[str | None, str | None]:
        """Return the names of the messages before and after this one on the page."""
        names = [None, *(each.name for each in self.messages), None]
        place = names.index(name) if name in names else 0
        return (names[place - 1], names[place + 1]) if place else (None, None)


def read_page(path: Path, listing: Listing, after: str | None, search: str) -> Page:
    """Read the messages that follow `after`. With a search, only those that have all its words in To or Subject."""
    words = search.casefold().split()
    names = listing.before(after, MAX_SEARCHED if words else PAGE_SIZE)
    found: list[Saved] = []
    searched = 0
    for searched, name in enumerate(names, 1):  # noqa: B007
        saved = read_fields(path, name)
        if saved and _has_words(saved.message, words):
            found.append(saved)
        if len(found) == PAGE_SIZE:
            break
    last = names[searched - 1] if names else None
    return Page(found, last if last and listing.before(last, 1) else None, searched)


def read_fields(path: Path, name: str) -> Saved | None:
    """Read the header fields of a message that the list needs. Return None if it no longer exists."""
    try:
        with open_message(path, name) as file:
            return saved_message(name, parse_fields(file.read(MAX_HEADER_BYTES), LISTED_FIELDS), file)
    except FileNotFoundError:
        return None


def saved_message(name: str, message: ParsedMessage, file: BinaryIO) -> Saved:
    status = os.fstat(file.fileno())
    return Saved(name, message, datetime.fromtimestamp(status.st_mtime, UTC), status.st_size)


def grouped(messages: Sequence[Saved], totals: Counter[str]) -> list[Group]:
    """Group messages by their email, in the same order."""
    groups = [(email, list(group)) for email, group in itertools.groupby(messages, lambda each: _email(each.name))]
    return [Group(group[0].message.field("subject"), totals[email], group) for email, group in groups]


def count_by_email(listing: Listing) -> Counter[str]:
    """Return the number of listed messages of each email. A message that another program saved is its own email."""
    return Counter(map(_email, listing.names))


def _email(name: str) -> str:
    match = EMAIL.fullmatch(name)
    return match[1] if match else name


def _has_words(message: ParsedMessage, words: Sequence[str]) -> bool:
    if not words:
        return True
    text = f"{message.field('to')} {message.field('subject')}".casefold()
    return all(word in text for word in words)
