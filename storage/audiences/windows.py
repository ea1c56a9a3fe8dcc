"""Read the recipients of an audience in windows: in the order of recipient_ids, a bounded number at a time.

An audience can be as large as the table of recipients, so it is never read as a whole. A window begins after a cursor,
and reads at most `window` rows of `recipients` or `memberships`, whether or not their recipients get the email. So each
window costs the same, and the cursor moves even if no recipient in the window gets the email.

One list is read by the primary key of `memberships`. Several lists are merged. SQLite merges the parts of an ordered
UNION while it reads them, so it reads no more than the window. PostgreSQL would read all of them to the end. There, the
window takes the same number of rows from each list, and ends at the lowest recipient_id at which a list was cut off; up
to there, it is complete.

A recipient on several lists is in one window once. `wanted` is 1 if they joined any of the lists in time, and have not
left it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from storage.connection import Connection

MAX_PROBED_LISTS = 4  # excluded lists that are looked up one by one; with more, all lists of the recipient are read
MIN_ROWS_OF_LIST = 32  # of each list in a window on PostgreSQL

# Each statement is completed by the ids of lists, which are integers of our own.
RECIPIENTS = """
SELECT recipient_id, address, status, removed_at, listed FROM recipients
WHERE recipient_id > :after AND recipient_id <= :last ORDER BY recipient_id LIMIT :window
"""
MEMBERS = """
SELECT recipient_id, CASE WHEN joined_at <= :joined_until AND left_at IS NULL THEN 1 ELSE 0 END AS wanted
FROM memberships WHERE list_id = {list_id} AND recipient_id > :after AND recipient_id <= :last
"""
# If one membership of a recipient is wanted, and another is not, the wanted one comes first, and is in the window.
MERGED = "{members} ORDER BY recipient_id, wanted DESC LIMIT :window"
PAGES = """
SELECT l.list_id, page.recipient_id, page.wanted FROM (VALUES {list_ids}) AS l (list_id) CROSS JOIN LATERAL (
    SELECT m.recipient_id, CASE WHEN m.joined_at <= :joined_until AND m.left_at IS NULL THEN 1 ELSE 0 END AS wanted
    FROM memberships m
    WHERE m.list_id = l.list_id AND m.recipient_id > :after AND m.recipient_id <= :last
    ORDER BY m.recipient_id LIMIT :window) AS page
"""
CUT_OFF_AT = """
SELECT MIN(cut_off.last_id) FROM (
    SELECT MAX(recipient_id) AS last_id FROM pages GROUP BY list_id HAVING COUNT(*) = :window) AS cut_off
"""
MERGED_PAGES = f"""
WITH pages AS MATERIALIZED ({PAGES})
SELECT recipient_id, MAX(wanted) AS wanted FROM pages WHERE recipient_id <= COALESCE(({CUT_OFF_AT}), :last)
GROUP BY recipient_id
"""  # noqa: S608 - statements of our own
NAMED = """
SELECT recipient_id FROM named_recipients WHERE event_id = :event_id AND recipient_id > :after
ORDER BY recipient_id LIMIT :window
"""
END_OF_ROWS = "SELECT CASE WHEN COUNT(*) = :window THEN MAX(recipient_id) END FROM ({rows}) AS w"
END_OF_PAGES = f"WITH pages AS MATERIALIZED ({PAGES}) {CUT_OFF_AT}"

FROM_RECIPIENTS = f"({RECIPIENTS}) AS person WHERE person.listed = 1"
FROM_MEMBERS = (
    "({members}) AS w CROSS JOIN recipients person WHERE person.recipient_id = w.recipient_id AND w.wanted = 1"
)
FROM_NAMED = f"({NAMED}) AS w CROSS JOIN recipients person WHERE person.recipient_id = w.recipient_id"
# An excluded list counts as it is now: whoever joins it before their delivery exists gets nothing.
NOT_IN_FEW = """
AND NOT EXISTS (
    SELECT 1 FROM memberships x
    WHERE x.list_id IN ({list_ids}) AND x.recipient_id = person.recipient_id AND x.left_at IS NULL)
"""
NOT_IN_MANY = """
AND NOT EXISTS (
    SELECT 1 FROM memberships x
    WHERE x.recipient_id = person.recipient_id AND x.list_id + 0 IN ({list_ids}) AND x.left_at IS NULL)
"""


class Window(NamedTuple):
    """The SQL of a window. Its values are `after`, `last` and `window`, `joined_until` for lists, `event_id` for names.

    `source` follows FROM, and ends with a condition. Its table `person` has the recipients who get the email unless
    they are inactive. `end` selects the last recipient_id of the window, or NULL at the end of the audience.
    """

    source: str
    end: str
    lists: int  # the number of lists that are merged with the same number of rows from each

    def rows(self, wanted: int) -> int:
        """Return the value for `window` that yields about this many recipients."""
        return wanted if self.lists == 1 else max(2 * wanted // self.lists, MIN_ROWS_OF_LIST)


def window_of(connection: Connection, kind: str, included: Sequence[int], excluded: Sequence[int]) -> Window:
    """Return the windows of an audience of this kind with these lists. Not for `everyone`."""
    return _window(connection.engine, kind, tuple(included), tuple(excluded))


@lru_cache(maxsize=64)
def _window(engine: str, kind: str, included: tuple[int, ...], excluded: tuple[int, ...]) -> Window:
    exclusion = _exclusion(excluded)
    if kind == "named":
        return Window(FROM_NAMED, END_OF_ROWS.format(rows=NAMED), 1)
    if kind == "everyone_but":
        return Window(FROM_RECIPIENTS + exclusion, END_OF_ROWS.format(rows=RECIPIENTS), 1)
    if len(included) > 1 and engine == "postgresql":
        values = ", ".join(f"({list_id})" for list_id in included)
        source = FROM_MEMBERS.format(members=MERGED_PAGES.format(list_ids=values)) + exclusion
        return Window(source, END_OF_PAGES.format(list_ids=values), len(included))
    members = MERGED.format(members=" UNION ".join(MEMBERS.format(list_id=list_id) for list_id in included))
    return Window(FROM_MEMBERS.format(members=members) + exclusion, END_OF_ROWS.format(rows=members), 1)


def _exclusion(list_ids: tuple[int, ...]) -> str:
    if not list_ids:
        return ""
    sql = NOT_IN_FEW if len(list_ids) <= MAX_PROBED_LISTS else NOT_IN_MANY
    return sql.format(list_ids=", ".join(map(str, list_ids)))
