"""Find the recipients that match a search, in the order of their recipient_ids.

`find` walks through the recipients in windows. For a chunk that is indexed, it takes the candidates from the postings
and reads only these; elsewhere it reads each recipient. Every recipient that is read is compared in Python, so both
engines find the same ones. What a page costs depends on how many candidates must be read to fill it: seldom more than
the page holds, because the candidates have all trigrams of the words.

`members` of a list and recipients of a rare status are ids in an index of their own. If there are more candidates than
a statement reads at once, they are first intersected with these ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

from storage.connection import Connection, Row
from storage.search import postings
from storage.search.postings import CHUNK_BITS, CHUNK_SIZE, Offsets
from storage.search.words import SEPARATOR, Word, may_have_values, values_text

MAX_ID = 2**63 - 1
MAX_GRAMS = 6  # of a word that are looked up; more would hardly rule out more candidates
FIRST_SLICE, MAX_SLICE = 200, 2_000  # recipients read by one statement
MAX_WALKED = 20_000  # members of a list that are read before those of a rare status
MAX_GROUP = 32  # chunks whose postings are read by one statement

# The numbers in braces are integers of our own.
SELECT_CURRENT = "SELECT chunk FROM search_chunks WHERE state = 0 AND chunk >= :first ORDER BY chunk"
SELECT_ROWS = """
SELECT chunk, bigram, recipients FROM search_postings WHERE chunk IN ({chunks}) AND bigram IN ({bigrams})
"""
SELECT_ROWS_FROM = """
SELECT chunk, bigram, recipients FROM search_postings WHERE chunk IN ({chunks}) AND bigram >= {begin} AND bigram < {end}
"""
TEXTS = "SELECT r.recipient_id, r.address_key, r.fields FROM recipients r WHERE r.removed_at IS NULL"
OF_IDS = "AND r.recipient_id IN ({ids}) ORDER BY r.recipient_id"
IN_RANGE = "AND r.recipient_id > :after AND r.recipient_id <= :until ORDER BY r.recipient_id LIMIT :limit"
# Rows without fields whose address does not contain the text cannot match. LIKE ignores case on SQLite only.
MAY_CONTAIN = "AND (r.address_key LIKE :pattern ESCAPE '!' OR r.fields IS NOT NULL)"
STATUS_CONDITIONS = {
    None: "",
    "active": "AND r.status = 'active'",
    "unsubscribed": "AND r.status = 'unsubscribed' AND r.status <> 'active'",
    "rejected": "AND r.status = 'rejected' AND r.status <> 'active'",
}
RARE_STATUSES = ("unsubscribed", "rejected")
IN_LIST = """
AND EXISTS (
    SELECT 1 FROM memberships m
    WHERE m.list_id = {list_id} AND m.recipient_id = r.recipient_id {still})
"""
STILL_IN = "AND m.left_at IS NULL"
IDS_OF_STATUS = """
SELECT r.recipient_id FROM recipients r
WHERE r.recipient_id > :after AND r.recipient_id <= :until AND r.removed_at IS NULL {condition}
"""
IDS_OF_LIST = """
SELECT m.recipient_id FROM memberships m
WHERE m.list_id = :list_id AND m.recipient_id > :after AND m.recipient_id <= :until {still}
"""
MEMBERS = """
SELECT m.recipient_id, r.address_key, r.fields FROM memberships m CROSS JOIN recipients r
WHERE m.list_id = {list_id} AND m.recipient_id > :after AND m.recipient_id <= :until AND r.recipient_id = m.recipient_id
    AND r.removed_at IS NULL {conditions}
ORDER BY m.recipient_id LIMIT :limit
"""


class Search(NamedTuple):
    """What to search for. A recipient matches if all of it does; without anything, everyone matches."""

    words: tuple[Word, ...] = ()  # each is in the address, or in the value of a personal field
    address_begins: str | None = None  # of Address.key, as the next two
    address_contains: str | None = None
    domain: str | None = None  # the whole domain, in lower case
    status: str | None = None
    list_id: int | None = None
    with_departed: bool = False  # those who left the list count as in it

    @property
    def has_text(self) -> bool:
        """Whether addresses or fields must be compared."""
        return bool(self.words or self.address_begins or self.address_contains or self.domain)

    def matches(self, key: str, fields: str | None) -> bool:
        """Return whether the text of a recipient matches."""
        if self.domain is not None and not key.endswith(f"@{self.domain}"):
            return False
        if self.address_begins is not None and not key.startswith(self.address_begins):
            return False
        if self.address_contains is not None and self.address_contains not in key:
            return False
        others = [word.value for word in self.words if word.address not in key]
        if not others:
            return True
        if not fields or not may_have_values(fields, others):
            return False
        values = values_text(fields)
        return all(word in values for word in others)

    def alternatives(self) -> list[tuple[str, ...]]:
        """Return the texts that must be indexed for a recipient who matches: one of each."""
        texts: list[tuple[str, ...]] = [(word.address,) if word.address == word.value else word for word in self.words]
        if self.domain is not None:
            texts.append((f"@{self.domain}{SEPARATOR[0]}",))
        texts += [(text,) for text in (self.address_begins, self.address_contains) if text]
        return texts


def find(connection: Connection, search: Search, members: int, after: int, limit: int) -> list[int]:
    """Return the recipient_ids of up to `limit` recipients after this one who match, in order.

    `members` is about how many members the list has.
    """
    return list(islice(_Finder(connection, search, members).ids(after), limit))


class _Finder:
    def __init__(self, connection: Connection, search: Search, members: int) -> None:
        self._connection = connection
        self._search = search
        self._alternatives = search.alternatives()
        still = "" if search.with_departed else STILL_IN
        self._in_list = "" if search.list_id is None else IN_LIST.format(list_id=search.list_id, still=still)
        most = MAX_SLICE if search.has_text else MAX_WALKED if search.status in RARE_STATUSES else members
        self._by_list = search.list_id is not None and members <= most
        conditions = f"{STATUS_CONDITIONS[search.status]} {still}"
        self._members = "" if search.list_id is None else MEMBERS.format(list_id=search.list_id, conditions=conditions)
        self._still = still

    def ids(self, after: int) -> Iterator[int]:
        """Yield all that match after this recipient_id."""
        if self._by_list or not self._search.has_text:
            yield from self._compared(after, MAX_ID)
            return
        current = [chunk for (chunk,) in self._connection.fetch_all(SELECT_CURRENT, first=(after + 1) >> CHUNK_BITS)]
        place, size = 0, 1
        while place < len(current):
            chunk = current[place]
            yield from self._compared(after, (chunk << CHUNK_BITS) - 1)  # those before it that are not indexed
            group = [chunk]
            while len(group) < size and current[place + len(group) : place + len(group) + 1] == [group[-1] + 1]:
                group.append(group[-1] + 1)
            for each, offsets in self._candidates(group):
                yield from self._indexed(each, offsets, after)
            after = max(after, ((group[-1] + 1) << CHUNK_BITS) - 1)
            place += len(group)
            size = min(2 * size, MAX_GROUP)
        yield from self._compared(after, MAX_ID)

    def _compared(self, after: int, until: int) -> Iterator[int]:
        """Yield those in a range who match, by reading each of them."""
        values: dict[str, object] = {"until": until}
        if self._by_list:
            sql = self._members
        else:
            sql = f"{TEXTS} {STATUS_CONDITIONS[self._search.status]} {self._in_list}"
            if text := self._text_of_all():
                sql, values["pattern"] = f"{sql} {MAY_CONTAIN}", like_pattern(text)
            sql = f"{sql} {IN_RANGE}"
        limit = FIRST_SLICE
        while after < until:
            rows = self._connection.fetch_all(sql, after=after, limit=limit, **values)
            yield from self._matching(rows)
            if len(rows) < limit:
                return
            after = rows[-1][0]
            limit = min(2 * limit, MAX_SLICE)

    def _text_of_all(self) -> str | None:
        """Return a text that the address of everyone without fields who matches contains, if there is one."""
        search = self._search
        if search.domain is not None:
            return f"@{search.domain}"
        return search.address_contains or search.address_begins or (search.words[0].address if search.words else None)

    def _indexed(self, chunk: int, offsets: Offsets, after: int) -> Iterator[int]:
        """Yield the candidates of a chunk who match."""
        first = chunk << CHUNK_BITS
        for select in self._indexed_filters():
            if postings.size(offsets) > FIRST_SLICE:
                rows = select(after=max(after, first - 1), until=first + CHUNK_SIZE - 1)
                offsets = postings.intersection([offsets, {recipient_id - first for (recipient_id,) in rows}])
        candidates = [first + offset for offset in postings.in_order(offsets) if first + offset > after]
        conditions = f"{STATUS_CONDITIONS[self._search.status]} {self._in_list}"
        start, limit = 0, FIRST_SLICE
        while start < len(candidates):
            ids = ", ".join(map(str, candidates[start : start + limit]))
            yield from self._matching(self._connection.fetch_all(f"{TEXTS} {conditions} {OF_IDS.format(ids=ids)}"))
            start += limit
            limit = min(2 * limit, MAX_SLICE)

    def _matching(self, rows: Sequence[Row]) -> Iterator[int]:
        matches = self._search.matches
        return (recipient_id for recipient_id, key, fields in rows if matches(key, fields))

    def _indexed_filters(self) -> list[Callable[..., list[Row]]]:
        """Return functions that select the ids with the status, if it is rare, and in the list, from an index."""
        search, fetch = self._search, self._connection.fetch_all
        filters: list[Callable[..., list[Row]]] = []
        if search.status in RARE_STATUSES:
            filters.append(partial(fetch, IDS_OF_STATUS.format(condition=STATUS_CONDITIONS[search.status])))
        if search.list_id is not None:
            filters.append(partial(fetch, IDS_OF_LIST.format(still=self._still), list_id=search.list_id))
        return filters

    def _candidates(self, chunks: list[int]) -> list[tuple[int, Offsets]]:
        """Return, for each chunk with possible matches, the recipients that may match."""
        found: dict[int, Offsets] = dict.fromkeys(chunks, (1 << CHUNK_SIZE) - 1)
        for texts in self._alternatives:
            each = [self._containing(list(found), text) for text in texts]
            either = {chunk: postings.union(one.get(chunk, set()) for one in each) for chunk in found}
            found = {
                chunk: both
                for chunk, offsets in found.items()
                if (both := postings.intersection([offsets, either[chunk]]))
            }
            if not found:
                break
        return list(found.items())

    def _containing(self, chunks: list[int], text: str) -> dict[int, Offsets]:
        """Return who may have a text that contains this one, for each of these chunks."""
        if not chunks:
            return {}
        if len(text) < 3:
            return self._containing_short(chunks, text)
        grams = _grams(text)
        bigrams: dict[int, list[str]] = {postings.bigram(gram): [] for gram in grams}
        for gram in grams:
            bigrams[postings.bigram(gram)].append(gram[2])
        sql = SELECT_ROWS.format(chunks=_joined(chunks), bigrams=_joined(sorted(bigrams)))
        parts: dict[int, list[Offsets]] = {}
        for chunk, bigram, row in self._connection.fetch_all(sql):
            parts.setdefault(chunk, []).extend(postings.entry(row, character) for character in bigrams[bigram])
        # A chunk without one of the bigrams has nobody.
        return {chunk: postings.intersection(each) for chunk, each in parts.items() if len(each) == len(grams)}

    def _containing_short(self, chunks: list[int], text: str) -> dict[int, Offsets]:
        begin, end = postings.bigrams_from(text[0])
        if len(text) == 2:
            begin = postings.bigram(text)
            end = begin + 1
        sql = SELECT_ROWS_FROM.format(chunks=_joined(chunks), begin=begin, end=end)
        parts: dict[int, list[Offsets]] = {}
        for chunk, _, row in self._connection.fetch_all(sql):
            parts.setdefault(chunk, []).extend(offsets for _, offsets in postings.entries(row))
        return {chunk: postings.union(each) for chunk, each in parts.items()}


def _grams(text: str) -> list[str]:
    """Return trigrams that together cover the text, or a part of it if it is long, each once."""
    places = [*range(0, len(text) - 2, 3), len(text) - 3]
    grams = list(dict.fromkeys(text[place : place + 3] for place in places))
    return grams if len(grams) <= MAX_GRAMS else grams[: MAX_GRAMS - 1] + grams[-1:]


def like_pattern(text: str) -> str:
    """Return the pattern of LIKE … ESCAPE '!' for texts that contain this one."""
    return f"%{text.replace('!', '!!').replace('%', '!%').replace('_', '!_')}%"


def _joined(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
