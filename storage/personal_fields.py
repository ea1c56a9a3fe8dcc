"""Personal fields of recipients: their names, their values, and who in an audience lacks a value."""

from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from storage.audiences.audiences import MAX_ID, Audience, Audiences, ListIds
from storage.audiences.windows import Window, window_of
from storage.connection import Connection, Row

SURVEY_SECONDS = 0.04  # how long a survey may take
MAX_GAPS = 2  # a range of ids is read at once if at least one in so many is wanted
WINDOW_SIZE = 1_000  # rows read by one statement of a survey
DECODED_AT_ONCE = 50  # recipients, each with up to 400 KB of JSON

SELECT_RANGE = """
SELECT recipient_id, fields FROM recipients
WHERE recipient_id >= :first AND recipient_id <= :last AND fields IS NOT NULL
"""
# The ids are integers of our own.
SELECT_FIELDS = """
SELECT recipient_id, fields FROM recipients WHERE recipient_id IN ({recipient_ids}) AND fields IS NOT NULL
"""
SELECT_NAMES = "SELECT name FROM field_names ORDER BY name"
SELECT_WINDOW = """
SELECT person.recipient_id, (SELECT f.fields FROM recipients f WHERE f.recipient_id = person.recipient_id)
FROM {source} AND person.status = 'active' AND person.removed_at IS NULL
"""
SELECT_BY_KEY = "SELECT recipient_id, fields, status, removed_at FROM recipients WHERE address_key = :key"


_decode = json.JSONDecoder().raw_decode  # half the time of json.loads
_join = "".join  # raises TypeError for anything but texts: cheaper than looking at the type of each
_TEXT_ONLY = {str}


class Survey(NamedTuple):
    """Who in an audience lacks a value. If it `is_partial`, more recipients may, because not all of them were read.

    `missing_id` is a recipient who lacks a value, and `longest_id` the one with the longest values among those read.
    """

    missing: int
    is_partial: bool
    missing_id: int | None = None
    longest_id: int | None = None


class PersonalFields:
    """The personal fields of all recipients."""

    def __init__(self, connection: Connection, audiences: Audiences) -> None:
        self._connection = connection
        self._audiences = audiences

    def names(self) -> list[str]:
        """Return the names of all fields that a recipient has ever had a value for."""
        return [name for (name,) in self._connection.fetch_all(SELECT_NAMES)]

    def of(self, recipient_ids: Collection[int]) -> dict[int, dict[str, str]]:
        """Return the fields of those of these recipients who have any, perhaps also of others."""
        if not recipient_ids:
            return {}
        first, last = min(recipient_ids), max(recipient_ids)
        if last - first < MAX_GAPS * len(recipient_ids):  # nearly always; it may read a few others, too
            rows = self._connection.fetch_all(SELECT_RANGE, first=first, last=last)
        else:
            rows = self._connection.fetch_all(SELECT_FIELDS.format(recipient_ids=", ".join(map(str, recipient_ids))))
        fields: dict[int, dict[str, str]] = {}
        for start in range(0, len(rows), DECODED_AT_ONCE):
            found, texts = zip(*rows[start : start + DECODED_AT_ONCE], strict=True)
            fields.update(zip(found, _all_decoded(texts), strict=True))
        return fields

    def survey(
        self, audience: Audience, required: Sequence[str], names: Sequence[str] = (), seconds: float = SURVEY_SECONDS
    ) -> Survey:
        """Count the recipients of an audience without a value for one of the `required` names.

        `names` are those whose values count for `longest_id`. Raises NoSuchList or another error of `Audiences`.
        """
        if audience.to:
            return _survey([self._named(audience)], required, names, seconds)
        return self._survey_windows(audience.kind, self._audiences.resolve(audience), 0, required, names, seconds)

    def survey_saved(
        self,
        event_id: int,
        kind: str,
        required: Sequence[str],
        names: Sequence[str] = (),
        seconds: float = SURVEY_SECONDS,
    ) -> Survey:
        """Do the same for the audience of a saved email."""
        lists = [(each.list_id, each.excluded) for each in self._audiences.lists_of(event_id)]
        return self._survey_windows(kind, lists, event_id, required, names, seconds)

    def _survey_windows(
        self,
        kind: str,
        lists: ListIds,
        event_id: int,
        required: Sequence[str],
        names: Sequence[str],
        seconds: float,
    ) -> Survey:
        included, excluded = ([list_id for list_id, is_excluded in lists if is_excluded == which] for which in (0, 1))
        kind = "everyone_but" if kind == "everyone" else kind
        window = window_of(self._connection, kind, included, excluded)
        return _survey(self._windows(window, event_id), required, names, seconds)

    def _windows(self, window: Window, event_id: int) -> Iterator[list[Row]]:
        after: int | None = 0
        values = {"last": MAX_ID, "joined_until": MAX_ID, "event_id": event_id, "window": window.rows(WINDOW_SIZE)}
        while after is not None:
            yield self._connection.fetch_all(SELECT_WINDOW.format(source=window.source), after=after, **values)
            ((after,),) = self._connection.fetch_all(window.end, after=after, **values)

    def _named(self, audience: Audience) -> list[Row]:
        """Return a row for each address. Those that do not exist yet will be active, and have no fields."""
        found: list[Row] = []
        for address in audience.to:
            row = self._connection.fetch_one(SELECT_BY_KEY, key=address.key)
            if row is None or row[3] is not None:
                found.append((None, None))
            elif row[2] == "active":
                found.append(row[:2])
        return found


def _survey(
    windows: Iterator[list[Row]] | Sequence[list[Row]], required: Sequence[str], names: Sequence[str], seconds: float
) -> Survey:
    ends_at = time.monotonic() + seconds
    keys = [f'"{name}":' for name in required]
    missing, missing_id, longest_id, longest = 0, None, None, 0
    for rows in windows:
        if time.monotonic() >= ends_at:
            return Survey(missing, True, missing_id, longest_id)
        for recipient_id, text in rows:
            if keys and _may_lack(text, keys) and _lacks(text, required):
                missing += 1
                missing_id = missing_id or recipient_id
            elif names and text is not None and len(text) > longest:
                length = _length(text, names)
                if length > longest:
                    longest, longest_id = length, recipient_id
    return Survey(missing, False, missing_id, longest_id)


def _may_lack(text: str | None, keys: Sequence[str]) -> bool:
    """Return False only if the JSON has a value for every key. Quotation marks within values are escaped."""
    return text is None or '""' in text or not all(map(text.__contains__, keys))


def _lacks(text: str | None, required: Sequence[str]) -> bool:
    values = {} if text is None else _decoded(text)
    return not all(map(values.get, required))


def _length(text: str, names: Sequence[str]) -> int:
    values = _decoded(text)
    return sum(len(values.get(name) or "") for name in names)


def _all_decoded(texts: Sequence[str]) -> Sequence[dict[str, str]]:
    """Return the fields in each of these texts. Decoding them as one array takes half the time."""
    try:
        # The zeros keep a broken text from borrowing the end of the next: what spans two has a number in it.
        items, end = _decode(f"[{',0,'.join(texts)}]")
        every: list[dict[str, str]] = items[::2]
        _join(chain.from_iterable(map(dict.values, every)))
    except (ValueError, TypeError, RecursionError):  # hardly ever: not all of these are objects of texts
        return [*map(_decoded, texts)]
    is_one_each = len(items) == 2 * len(texts) - 1 and end == sum(map(len, texts)) + 3 * len(texts) - 1
    return every if is_one_each else [*map(_decoded, texts)]


def _decoded(text: str | bytes) -> dict[str, str]:
    """Return the fields that are stored as JSON. Operators write to this table too: anything but texts is left out."""
    try:
        fields, _ = _decode(text.lstrip())  # type: ignore[arg-type]
    except (ValueError, TypeError, RecursionError):  # TypeError for a BLOB in SQLite
        return {}
    if not isinstance(fields, dict):
        return {}
    return (
        fields if set(map(type, fields.values())) <= _TEXT_ONLY else {k: v for k, v in fields.items() if type(v) is str}
    )
