"""Read and compare the structure of schemas: tables, columns, constraints, indexes, triggers and settings.

The structure is read from the database's catalogue. Differences in the layout of the SQL or the order of columns do not
count.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

_TOKEN = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\w+|[^\w\s]", re.DOTALL)
_COMMENTS = ("--", "/*")
_TABLE_CONSTRAINTS = ("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN")

SELECT_SQLITE_SCHEMA = (
    "SELECT tbl_name, type, name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
)
SELECT_POSTGRESQL_SCHEMA = """
WITH tables AS (SELECT oid, relname FROM pg_class WHERE relnamespace = :schema AND relkind IN ('r', 'p'))
SELECT relname::text, 'table', '', '' FROM tables
UNION ALL
SELECT t.relname, 'column', a.attname, concat_ws(' ', format_type(a.atttypid, a.atttypmod),
        CASE WHEN a.attcollation <> y.typcollation THEN 'COLLATE ' || quote_ident(c.collname) END,
        CASE WHEN a.attnotnull THEN 'NOT NULL' END, 'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid))
    FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid JOIN pg_type y ON y.oid = a.atttypid
    LEFT JOIN pg_collation c ON c.oid = a.attcollation
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT t.relname, 'constraint', c.conname, pg_get_constraintdef(c.oid)
    FROM tables t JOIN pg_constraint c ON c.conrelid = t.oid WHERE c.contype IN ('c', 'f', 'p', 'u', 'x')
UNION ALL
SELECT t.relname, 'index', i.relname, pg_get_indexdef(x.indexrelid)
    FROM tables t JOIN pg_index x ON x.indrelid = t.oid JOIN pg_class i ON i.oid = x.indexrelid
    WHERE NOT EXISTS (SELECT 1 FROM pg_constraint c WHERE c.conindid = x.indexrelid)
UNION ALL
SELECT t.relname, 'trigger', g.tgname, pg_get_triggerdef(g.oid) || ' AS ' || p.prosrc
    FROM tables t JOIN pg_trigger g ON g.tgrelid = t.oid JOIN pg_proc p ON p.oid = g.tgfoid WHERE NOT g.tgisinternal
UNION ALL
SELECT t.relname, 'setting', o.option_name, o.option_value
    FROM tables t JOIN pg_class c ON c.oid = t.oid CROSS JOIN LATERAL pg_options_to_table(c.reloptions) o
"""


class Part(NamedTuple):
    """One part of a schema. `kind` is table, column, constraint, index, trigger or setting."""

    table: str
    kind: str
    name: str

    def __str__(self) -> str:
        if self.kind == "table":
            return f"table {self.table}"
        return f"{self.kind} {self.name}" if self.kind == "index" else f"{self.kind} {self.table}.{self.name}"


Structure = dict[Part, str]  # each part and its definition


def differences(expected: Structure, found: Structure) -> list[str]:
    """Return what is missing, different or unexpected in `found`, missing tables first.

    Additional tables and indexes, and all settings, are ignored: operators may add and tune these.
    """
    tables = {part.table for part in expected}
    missing = sorted(tables - {part.table for part in found})
    parts = sorted(part for part in expected.keys() | found.keys() if part.table in tables - set(missing))
    return [f"table {table} is missing" for table in missing] + [
        f"{part} {difference}" for part in parts if (difference := _difference(part, expected, found))
    ]


def has_all_but_indexes(expected: Structure, found: Structure) -> bool:
    """Return whether `found` has every expected part unchanged except indexes and settings."""
    return all(
        part.kind in ("index", "setting") or found.get(part) == definition for part, definition in expected.items()
    )


def _difference(part: Part, expected: Structure, found: Structure) -> str | None:
    if part.kind == "setting":
        return None
    if part not in expected:
        return None if part.kind == "index" else "is not expected"
    if part not in found:
        return "is missing"
    return "is different" if expected[part] != found[part] else None


def digest(*scripts: str) -> str:
    """Return a digest of the SQL, as 16 hexadecimal digits. It does not depend on comments or layout."""
    return hashlib.sha256("\n".join(map(_normalised, scripts)).encode()).hexdigest()[:16]


def of_postgresql(rows: Iterable[tuple[Any, ...]], schema: str) -> Structure:
    """Return the structure of the named schema, from the rows of SELECT_POSTGRESQL_SCHEMA."""
    own = re.compile(rf"\b(?:pg_temp(?:_\d+)?|{re.escape(schema)})\.")
    return {Part(table, kind, name): _normalised(own.sub("", definition)) for table, kind, name, definition in rows}


def of_sqlite(rows: Iterable[tuple[Any, ...]]) -> Structure:
    """Return the structure, from the rows of SELECT_SQLITE_SCHEMA."""
    structure: Structure = {}
    for table, kind, name, sql in rows:
        tokens = list(_tokens(sql))
        if kind == "table":
            structure |= _table(table, tokens)
        elif kind != "view":
            structure[Part(table, kind, name)] = " ".join(tokens)
    return structure


def _table(table: str, tokens: list[str]) -> Structure:
    """Return the columns, constraints and options (such as STRICT) of a CREATE TABLE statement."""
    definitions, options = _definitions(tokens)
    structure = {Part(table, "table", ""): " ".join(options)}
    for words in definitions:
        if words[0].upper() in _TABLE_CONSTRAINTS:
            structure[Part(table, "constraint", " ".join(words))] = ""
        else:
            structure[Part(table, "column", words[0])] = " ".join(words[1:])
    return structure


def _definitions(tokens: list[str]) -> tuple[list[list[str]], list[str]]:
    """Return the definitions between the outer parentheses, and the tokens after them."""
    definitions: list[list[str]] = [[]]
    depth = 0
    for place, word in enumerate(tokens):
        depth += (word == "(") - (word == ")")
        if word == ")" and depth == 0:
            return definitions, tokens[place + 1 :]
        if word == "," and depth == 1:
            definitions.append([])
        elif depth > 1 or (depth == 1 and word != "("):
            definitions[-1].append(word)
    raise ValueError(f"not a CREATE TABLE: {' '.join(tokens)}")


def _normalised(sql: str) -> str:
    return " ".join(_tokens(sql))


def _tokens(sql: str) -> Iterator[str]:
    """Yield the tokens of some SQL, without comments and unnecessary quotes around names."""
    for token in _TOKEN.findall(sql):
        if not token.startswith(_COMMENTS):
            yield token[1:-1] if re.fullmatch(r'"\w+"', token) else token
