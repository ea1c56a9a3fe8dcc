"""SQL for psycopg and libpq, and values as the server reads them.

Most statements are the same on both engines. `named` and `numbered` only change the form of their placeholders. The
statements that change many rows are written here a second time: the server gets each column of the rows as one array,
and changes all rows in one execution. (psycopg's `executemany` would execute a statement for each row.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import count

from storage.connection import Values
from storage.deliveries.outcome import SET_SENDING, SET_SENT
from storage.deliveries.retry import IS_RETRYABLE, QUEUE_AGAIN
from storage.emails import INSERT_EMAIL

# The first `%s` is the array of the first column, and so on.
MANY_ROWS = {
    INSERT_EMAIL: """
INSERT INTO emails (event_id, due_at, created_at, token, subject, content)
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[], %s::text[], %s::text[], %s::text[])
ON CONFLICT (event_id) DO NOTHING
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
    """Return a statement with each `:name` in psycopg's form, `%(name)s`."""
    return _NAMED.sub(r"%(\1)s", sql.replace("%", "%%"))


@lru_cache(maxsize=32)
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement with each `:name` in libpq's form, `$1`, and the names in the order of their numbers."""
    names = tuple(dict.fromkeys(_NAMED.findall(sql)))
    return _NAMED.sub(lambda found: f"${names.index(found[1]) + 1}", sql), names


@lru_cache(maxsize=16)
def all_or_error(sql: str) -> str:
    """Return a statement for many rows in libpq's form, with a last value: the number of rows that it must change.

    If it changes fewer, the server must roll back the transaction before the client sees this, so the statement has to
    fail. SQL has no other way to raise an error: it divides by zero.
    """
    numbers = count(1)
    update = re.sub("%s", lambda _: f"${next(numbers)}", MANY_ROWS[sql])
    return (
        f"WITH changed AS ({update} RETURNING 1) "  # noqa: S608 - statements of our own
        f"SELECT 1 / CAST(COUNT(*) = ${next(numbers)} AS INTEGER) FROM changed"
    )


def as_texts(values: Mapping[str, object], names: Sequence[str]) -> list[bytes | None]:
    """Return these values as libpq takes them, in the server's own notation."""
    return [None if (value := values[name]) is None else str(value).encode() for name in names]


def for_psycopg(sql: str, values: Values | Sequence[tuple[object, ...]]) -> tuple[str, Values | list[str]]:
    """Return a statement and its values, or its rows, in psycopg's form."""
    return (named(sql), values) if isinstance(values, dict) else (MANY_ROWS[sql], arrays(values))


def arrays(rows: Iterable[tuple[object, ...]]) -> list[str]:
    """Return each column of the rows as an array in the server's notation."""
    return [_array(column) for column in zip(*rows, strict=True)]


def _array(column: Sequence[object]) -> str:
    """psycopg would call Python for each value."""
    if isinstance(column[0], str):
        column = ['"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"' for text in column]
    return f"{{{','.join(map(str, column))}}}"
