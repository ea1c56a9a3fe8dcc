"""The index for searching recipients by any part of a text. Sweeps update it while nothing is due.

Theory of operation. Recipients are indexed in chunks of CHUNK_SIZE consecutive recipient_ids: `search_postings` has,
for each bigram in the texts of a chunk, the recipients with it (storage/search/postings.py). A search reads the
postings of a chunk to find candidates, and compares these with its words. So postings may name too many recipients, but
never too few.

Adding recipients writes nothing here, because that would make an import three times as slow. Instead:

- A chunk is indexed once all of its recipient_ids have been assigned. Until then, a search compares each recipient
  after the last chunk that is indexed. These are fewer than CHUNK_SIZE, except after a large import.
- If the text of an indexed recipient changes, a trigger sets the `state` of the chunk to STALE. A search compares each
  recipient of a stale chunk, until it has been indexed again.
- Nothing happens if a recipient is removed: searches do not find those who do not exist.

Hence a search is exact at any time. The index decides only how long it takes.

A chunk is indexed in two transactions, so that the write lock is held for a few milliseconds. The first one sets
`state` to a token of this process. Then the recipients are read. The second one saves the postings and sets `state` to
CURRENT, provided that it still is the token: otherwise a recipient has changed, or another process has taken over. The
first transaction also locks the counter that everyone who adds or changes recipients locks. So none of their
transactions that began earlier is still open when the recipients are read.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from storage.connection import Connection
from storage.idle import SEARCH_INDEX_IS_BEHIND
from storage.search.postings import CHUNK_BITS, CHUNK_SIZE, Collector
from storage.search.words import indexed_text

CURRENT, STALE = 0, 1
TAKE_OVER_SECONDS = 60  # a process that has not indexed its chunk by then has died
TOKEN_BITS = 10  # of a token that are random; the others are the time in milliseconds
CHECK_EVERY = 256  # recipients

LOCK_COUNTER = "SELECT value FROM counters WHERE name = 'recipient_id' {for_update}"
SELECT_OUTDATED = f"""
SELECT chunk FROM search_chunks
WHERE state <> {CURRENT} AND state > {CURRENT} AND state < :abandoned ORDER BY state LIMIT 1
"""  # noqa: S608 - constants of our own
SELECT_LAST = "SELECT COALESCE(MAX(chunk), -1) FROM search_chunks"
CLAIM = """
INSERT INTO search_chunks (chunk, state) VALUES (:chunk, :token) ON CONFLICT (chunk) DO UPDATE SET state = :token
"""
SELECT_TEXTS = """
SELECT recipient_id, address_key, fields FROM recipients
WHERE recipient_id >= :first AND recipient_id <= :last ORDER BY recipient_id
"""
SET_CURRENT = f"UPDATE search_chunks SET state = {CURRENT} WHERE chunk = :chunk AND state = :token"  # noqa: S608
GIVE_BACK = f"UPDATE search_chunks SET state = {STALE} WHERE chunk = :chunk AND state = :token"  # noqa: S608
DELETE_POSTINGS = "DELETE FROM search_postings WHERE chunk = :chunk"


class SearchIndex:
    """The index of an installation."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def is_behind(self) -> bool:
        """Return whether a chunk waits to be indexed."""
        ((behind,),) = self._connection.fetch_all(SEARCH_INDEX_IS_BEHIND)
        return bool(behind)

    def update(self, go_on: Callable[[], bool] = lambda: True) -> int:
        """Index the chunks that wait for it, while `go_on()`, which is called every few milliseconds.

        Return how many were indexed.
        """
        indexed = 0
        while go_on() and self.is_behind():
            claimed = self._claim()
            if claimed is None or not self._index(*claimed, go_on):
                break
            indexed += 1
        return indexed

    def _claim(self) -> tuple[int, int] | None:
        """Return the next chunk that waits, and the token with which it was claimed, or None."""
        now = time.time_ns() // 1_000_000
        with self._connection.transaction():
            ((last_id,),) = self._connection.fetch_all(LOCK_COUNTER.format(for_update=self._connection.for_update))
            abandoned = now - 1000 * TAKE_OVER_SECONDS << TOKEN_BITS
            outdated = self._connection.fetch_one(SELECT_OUTDATED, abandoned=abandoned)
            ((last,),) = self._connection.fetch_all(SELECT_LAST)
            chunk: int = outdated[0] if outdated else last + 1
            if last_id < ((chunk + 1) << CHUNK_BITS) - 1:
                return None
            token = now << TOKEN_BITS | secrets.randbits(TOKEN_BITS)
            self._connection.execute(CLAIM, chunk=chunk, token=token)
        return chunk, token

    def _index(self, chunk: int, token: int, go_on: Callable[[], bool]) -> bool:
        """Index a chunk. Return False if `go_on` stopped it."""
        first = chunk << CHUNK_BITS
        collector = Collector()
        rows = self._connection.fetch_all(SELECT_TEXTS, first=first, last=first + CHUNK_SIZE - 1)
        for number, (recipient_id, address_key, fields) in enumerate(rows):
            collector.add(recipient_id - first, indexed_text(address_key, fields))
            if number % CHECK_EVERY == 0 and not go_on():
                self._give_back(chunk, token)
                return False
        postings = [(chunk, bigram, row) for bigram, row in collector.rows()]
        with self._connection.transaction():
            if self._connection.execute(SET_CURRENT, chunk=chunk, token=token):
                self._connection.execute(DELETE_POSTINGS, chunk=chunk)
                self._connection.load("search_postings", ("chunk", "bigram", "recipients"), postings)
        return True

    def _give_back(self, chunk: int, token: int) -> None:
        with self._connection.transaction():
            self._connection.execute(GIVE_BACK, chunk=chunk, token=token)
