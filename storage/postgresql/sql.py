"""SQL as the data layer has it, rewritten for psycopg and for libpq; and values as the server reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from storage.connection import Values

_NAMED = re.compile(r"(?<![:\w]):([a-z_]+)")


@lru_cache(maxsize=256)
def named(sql: str) -> str:
    """`:name` as psycopg has it."""
    return _NAMED.sub(r"%(\1)s", sql.replace("%", "%%"))


@lru_cache(maxsize=32)
def numbered(sql: str) -> tuple[str, tuple[str, ...]]:
    """`:name` as libpq has it, `$1`, and the names in the order of their numbers."""
    names = tuple(dict.fromkeys(_NAMED.findall(sql)))
    return _NAMED.sub(lambda found: f"${names.index(found[1]) + 1}", sql), names


def as_texts(values: Mapping[str, object], names: Sequence[str]) -> list[bytes | None]:
    """These values as libpq takes them, in the server's own notation."""
    return [None if (value := values[name]) is None else str(value).encode() for name in names]


def rewritten(sql: str, values: Values | Sequence[tuple[object, ...]]) -> tuple[str, Values | list[str]]:
    """A statement and its values as psycopg has them."""
    return (named(sql), values) if isinstance(values, dict) else for_many(sql, values)


def for_many(sql: str, rows: Iterable[tuple[object, ...]]) -> tuple[str, list[str]]:
    """Return an INSERT or UPDATE of one row, with `?` or `?1`, as one of many rows, and each column as an array."""
    types, arrays = columns(rows)
    return _with_arrays(sql.replace("%", "%%"), types, ("%s",) * len(types)), arrays


def counted(sql: str, types: tuple[str, ...]) -> str:
    """An UPDATE for many as libpq has it, an error unless it changes as many rows as the last number says."""
    return _counted(_with_arrays(sql, types, tuple(f"${n}" for n in range(1, len(types) + 1))), len(types) + 1)


def columns(rows: Iterable[tuple[object, ...]]) -> tuple[tuple[str, ...], list[str]]:
    """The types of the columns, and each column as an array as the server reads it."""
    found = list(zip(*rows, strict=True))
    types = tuple("text" if isinstance(column[0], str) else "bigint" for column in found)
    return types, list(map(_array, found, types))


def _array(column: Sequence[object], kind: str) -> str:
    """psycopg would call Python for each value."""
    if kind == "text":
        column = ['"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"' for text in column]
    return f"{{{','.join(map(str, column))}}}"


@lru_cache(maxsize=16)
def _counted(update: str, number: int) -> str:
    return (
        f"WITH changed AS ({update} RETURNING 1) "  # noqa: S608 - statements of our own
        f"SELECT 1 / CAST(COUNT(*) = ${number} AS INTEGER) FROM changed"
    )


@lru_cache(maxsize=32)
def _with_arrays(sql: str, types: tuple[str, ...], placeholders: tuple[str, ...]) -> str:
    numbers = iter(range(len(types)))
    sql = re.sub(r"\?(\d*)", lambda place: f"given.v{int(place[1]) - 1 if place[1] else next(numbers)}", sql)
    arrays = ", ".join(f"{placeholder}::{kind}[]" for placeholder, kind in zip(placeholders, types, strict=True))
    names = ", ".join(f"v{number}" for number in range(len(types)))
    given = f"FROM unnest({arrays}) AS given ({names})"
    if "VALUES" in sql:
        return re.sub(r"VALUES \((.*?)\)", rf"SELECT \1 {given}", sql)
    return sql.replace("WHERE", f"{given} WHERE", 1)
