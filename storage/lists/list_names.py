"""Find lists by their names. An unknown name is answered with the names that exist."""

from __future__ import annotations

import difflib

from storage.connection import Connection
from storage.errors import NoSuchList
from storage.values import name_key

MAX_CLOSEST = 10  # names in an error
MAX_COMPARED = 2_000  # names that are compared with an unknown one

SELECT_NAMES = """
SELECT name FROM lists WHERE deleted_at IS NULL AND archived_at IS NULL AND name_key > :after
ORDER BY name_key LIMIT :limit
"""
COUNT_LISTS = "SELECT COUNT(*) FROM lists WHERE deleted_at IS NULL AND archived_at IS NULL"


def names(connection: Connection, limit: int, after: str = "") -> list[str]:
    """Return the names of up to `limit` lists that are not archived, after the key `after`."""
    return [name for (name,) in connection.fetch_all(SELECT_NAMES, after=after, limit=limit)]


def no_such_list(connection: Connection, name: str) -> NoSuchList:
    """Return the error for an unknown name."""
    found, others = _closest(connection, name, MAX_CLOSEST)
    return NoSuchList(name, found, others)


def closest(connection: Connection, name: str, limit: int = MAX_CLOSEST) -> list[str]:
    """Return the names of all lists that are not archived, or of the most similar ones if there are many."""
    return _closest(connection, name, limit)[0]


def _closest(connection: Connection, name: str, limit: int) -> tuple[list[str], int]:
    """Return the closest names, and how many other lists there are."""
    ((count,),) = connection.fetch_all(COUNT_LISTS)
    if count <= limit:
        return names(connection, limit), 0
    key = name_key(name)
    compared = {name_key(each): each for after in ("", key[:3]) for each in names(connection, MAX_COMPARED, after)}
    found = difflib.get_close_matches(key, compared, limit, cutoff=0.5) or list(compared)[: limit // 2]
    return [compared[each] for each in found], count - len(found)
