"""Convert SQL and values for psycopg and libpq.

Most statements are the same on both engines, and `named` and `numbered` only convert their placeholders. The statements
that change many rows are written again here: the server gets each column of the rows as one array, and changes all rows
in one execution. (psycopg's `executemany` would execute the statement once per row.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import count

from storage.audiences.audiences import INSERT_LISTS, INSERT_NAMED
from storage.connection import Values
from storage.deliveries.outcome import SET_SENDING, SET_SENT
from storage.deliveries.retry import IS_RETRYABLE, QUEUE_AGAIN
from storage.emails import INSERT_EMAIL

# The first `%s` is the array of the first column, and so on.
MANY_ROWS = {
    INSERT_EMAIL: """
INSERT INTO emails (event_id, due_at, created_at, token, subject, content, audience, recipients_max, personal, reply_to,
    from_name)
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[],
    %s::bigint[], %s::bigint[], %s::text[], %s::text[])
ON CONFLICT (event_id) DO NOTHING
""",
    INSERT_LISTS: """
INSERT INTO audiences (event_id, list_id, excluded) SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[])
""",
    INSERT_NAMED: """
INSERT INTO named_recipients (event_id, recipient_id, address)
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::text[])
""",
    SET_SENDING: """
UPDATE deliveries SET status = 'sending'
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS given (event_id, recipient_id, sender_id)
WHERE deliveries.event_id = given.event_id AND deliveries.recipient_id = given.recipient_id
    AND claimed_by + 0 = given.sender_id AND status IN ('claimed', 'sending')
""",
    SET_SENT: """
UPDATE deliveries SET status = 'sent', claimed_by = NULL, attempts = attempts + 1,
    finished_at = given.finished_at, reply = given.reply
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::bigint[])
    AS given (event_id, recipient_id, sender_id, reply, finished_at)
WHERE deliveries.event_id = given.event_id AND deliveries.recipient_id = given.recipient_id
    AND claimed_by + 0 = given.sender_id AND status = 'sending'
""",
    QUEUE_AGAIN: f"""
UPDATE deliveries SET status = 'queued', queued_at = given.queued_at, next_attempt_at = given.next_attempt_at,
    attempts_in_doubt = 0, finished_at = NULL
FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::bigint[], %s::text[])
    AS given (queued_at, next_attempt_at, event_id, recipient_id, status)
WHERE deliveries.event_id = given.event_id AND deliveries.recipient_id = given.recipient_id
    AND deliveries.status = given.status AND {IS_RETRYABLE}
""",  # noqa: S608 - statements of our own
}
_NAMED = re.compile(r"(?<![:\w]):([a-z_]+)")


@lru_cache(maxsize=256)
def named(sql: str) -> str:
    """Return a statement with each `:name` converted to psycopg's `%(name)s`."""
    return _NAMED.sub(r"%(\1)s", sql.replace("%", "%%"))


@lru_cache(maxsize=32)
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement with each `:name` converted to libpq's `$1`, and the names in the order of the numbers."""
    names = tuple(dict.fromkeys(_NAMED.findall(sql)))
    return _NAMED.sub(lambda found: f"${names.index(found[1]) + 1}", sql), names


@lru_cache(maxsize=16)
def all_or_error(sql: str) -> str:
    """Return a statement for many rows in libpq's form, with one more value: the number of rows that it must change.

    If it changes fewer, the server must roll back the transaction without asking the client, so the statement has to
    fail. SQL has no other way to raise an error, so it divides by zero.
    """
    numbers = count(1)
    update = re.sub("%s", lambda _: f"${next(numbers)}", MANY_ROWS[sql])
    return (
        f"WITH changed AS ({update} RETURNING 1) "  # noqa: S608 - statements of our own
        f"SELECT 1 / CAST(COUNT(*) = ${next(numbers)} AS INTEGER) FROM changed"
    )


def as_texts(values: Mapping[str, object], names: Sequence[str]) -> list[bytes | None]:
    """Return the values of these names in the text format that libpq sends."""
    return [None if (value := values[name]) is None else str(value).encode() for name in names]


def for_psycopg(sql: str, values: Values | Sequence[tuple[object, ...]]) -> tuple[str, Values | list[str]]:
    """Return a statement, and its values or rows, in psycopg's form."""
    return (named(sql), values) if isinstance(values, dict) else (MANY_ROWS[sql], arrays(values))


def arrays(rows: Iterable[tuple[object, ...]]) -> list[str]:
    """Return each column of the rows as an array literal."""
    return [_array(column) for column in zip(*rows, strict=True)]


def _array(column: Sequence[object]) -> str:
    """Return an array literal. psycopg would call a Python function for each value, which is slower."""
    if None in column:
        column = ["NULL" if value is None else _quoted(str(value)) for value in column]
    elif isinstance(column[0], str):
        column = ['"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"' for text in column]
    return f"{{{','.join(map(str, column))}}}"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
