"""Read the body of an API request as strict JSON: one value, UTF-8, no duplicate names, no NaN."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import NoReturn

from flask import Request
from werkzeug.exceptions import LengthRequired, UnsupportedMediaType

from intake.fields import InvalidFields, invalid
from intake.text import printable
from web.declared_encoding import UTF_8
from web.form import read_body, request_codec

JSON = "application/json"
JSON_LINES = ("application/x-ndjson", "application/ndjson", "application/jsonl")
CSV = "text/csv"
MAX_VALUES = 100_000  # objects, lists and members per body; a thousand emails have about 6,000
VALUE_MARKS = (b",", b"[", b"{")  # precede every value except the first of a list or object
_STRING_OR_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[,\[{]', re.DOTALL)
_LINE = re.compile(rb"\S[^\n]*+")


class _RefusedError(ValueError):
    """The text is JSON for Python's parser, but not strictly valid."""


def read_json(request: Request, limit: int, *others: str) -> object:
    """Return the JSON value in the body, which has at most `limit` bytes. Raises InvalidFields.

    `others` are types that the caller accepts besides JSON. The error lists all of them.
    """
    if request.mimetype != JSON:
        raise wrong_type(JSON, *others)
    codec = _json_codec(request)
    return parse(read_body(request.environ, limit), codec)


def read_optional_json(request: Request, limit: int) -> object:
    """Like `read_json`, but a request without a body counts as an empty object."""
    if not request.headers.get("Content-Type") and not read_body(request.environ, limit):
        return {}
    return read_json(request, limit)


def read_lines(request: Request, limit: int, most: int) -> list[object]:
    """Return up to `most` values of newline-delimited JSON, with an InvalidFields in place of each invalid line."""
    body = read_whole(request, limit, *JSON_LINES)
    _limit_values(body)
    lines = list(islice(_lines(body), most + 1))
    if len(lines) > most:
        raise invalid("body", f"contains more than {most:,} lines")
    codec = _json_codec(request)
    return [_value_of(line, codec) for line in lines]


def _lines(body: bytes) -> Iterator[bytes]:
    return (line[0] for line in _LINE.finditer(body))


def read_whole(request: Request, limit: int, *kinds: str) -> bytes:
    """Read a body of one of these types. It needs a Content-Length, because its format does not mark its end."""
    if request.mimetype not in kinds:
        raise wrong_type(*kinds)
    body = read_body(request.environ, limit)
    if body and request.content_length is None:
        # Without it, a truncated chunked body would look complete.
        raise LengthRequired(f"a body of type {kinds[0]} requires Content-Length")
    return body


def parse(octets: bytes, codec: str = UTF_8) -> object:
    """Return the JSON value in these bytes. Raises InvalidFields."""
    _limit_values(octets)
    try:
        return json.loads(
            octets.decode(codec), object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_integer
        )
    except json.JSONDecodeError as error:
        reason = f"is not JSON: {error.msg} (line {error.lineno}, column {error.colno})"
    except UnicodeDecodeError:
        reason = "is not UTF-8" if codec == UTF_8 else "is not US-ASCII, although its Content-Type says so"
    except RecursionError:
        reason = "is nested too deeply"
    except _RefusedError as error:
        reason = str(error)
    raise invalid("body", reason)


def _limit_values(octets: bytes) -> None:
    """Reject JSON with too many values before Python creates objects for them. 10 MB can contain five million."""
    if sum(map(octets.count, VALUE_MARKS)) < MAX_VALUES:
        return
    marks = (match for match in _STRING_OR_MARK.finditer(octets) if match[0] in VALUE_MARKS)
    if next(islice(marks, MAX_VALUES, None), None):
        raise invalid("body", f"contains more than {MAX_VALUES:,} values")


def wrong_type(*kinds: str) -> UnsupportedMediaType:
    """Return the error for a body that has none of these types."""
    return UnsupportedMediaType(f"the Content-Type must be {' or '.join(kinds)}")


def _json_codec(request: Request) -> str:
    """Return the codec for the body. JSON is always UTF-8 (RFC 8259, 8.1), and US-ASCII is a subset of it."""
    codec = request_codec(request) or UTF_8
    if codec not in (UTF_8, "ascii"):
        raise UnsupportedMediaType("JSON must be UTF-8; the Content-Type must not declare another charset")
    return codec


def _value_of(line: bytes, codec: str) -> object:
    try:
        return parse(line, codec)
    except InvalidFields as error:
        return error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _RefusedError(f"contains the name {printable(_repeated(pairs), 80)!r} twice in one object")
    return values


def _repeated(pairs: list[tuple[str, object]]) -> str:
    """Return the first name that is repeated."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    return name


def _refuse_constant(name: str) -> NoReturn:
    raise _RefusedError(f"is not JSON: {name} is not allowed")


def _integer(digits: str) -> int:
    return int(digits[:40])  # numbers above 64 bits are all invalid, and thousands of digits are slow to parse
