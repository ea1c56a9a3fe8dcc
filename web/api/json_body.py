"""The body of an API request → JSON values, read strictly: one value, UTF-8, each name once, no NaN."""

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
MAX_VALUES = 100_000  # objects, lists and members in one body; a thousand emails have some 6,000
VALUE_MARKS = (b",", b"[", b"{")  # every value but the first of its list or object comes after one of these
_STRING_OR_MARK = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[,\[{]', re.DOTALL)
_LINE = re.compile(rb"\S[^\n]*+")


class _RefusedError(ValueError):
    """JSON for Python's parser, but not for us."""


def read_json(request: Request, limit: int, *others: str) -> object:
    """The JSON value that the body is, of at most `limit` bytes. Raises InvalidFields.

    `others` are types that the caller accepts too; the error names all of them.
    """
    if request.mimetype != JSON:
        raise wrong_type(JSON, *others)
    codec = _json_codec(request)
    return parse(read_body(request, limit), codec)


def read_optional_json(request: Request, limit: int) -> object:
    """The same, for a request that means something without a body too: an object without fields."""
    if not request.headers.get("Content-Type") and not read_body(request, limit):
        return {}
    return read_json(request, limit)


def read_lines(request: Request, limit: int, most: int) -> list[object]:
    """The values of newline-delimited JSON; InvalidFields in place of a line that is none. Up to `most` of them."""
    body = read_whole(request, limit, *JSON_LINES)
    _limit_values(body)
    lines = list(islice(_lines(body), most + 1))
    if len(lines) > most:
        raise invalid("body", f"has more than {most:,} lines")
    codec = _json_codec(request)
    return [_value_of(line, codec) for line in lines]


def _lines(body: bytes) -> Iterator[bytes]:
    """Yield the lines that are not blank."""
    return (line[0] for line in _LINE.finditer(body))


def read_whole(request: Request, limit: int, *kinds: str) -> bytes:
    """Read a body of one of these types. It needs a Content-Length, since its format does not mark its end."""
    if request.mimetype not in kinds:
        raise wrong_type(*kinds)
    body = read_body(request, limit)
    if body and request.content_length is None:
        # A chunked body whose client died half-way looks like a whole one here.
        raise LengthRequired(f"a body of {kinds[0]} needs a Content-Length")
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
        reason = "is not UTF-8" if codec == UTF_8 else "is not US-ASCII, as its Content-Type declares"
    except RecursionError:
        reason = "is nested too deeply"
    except _RefusedError as error:
        reason = str(error)
    raise invalid("body", reason)


def _limit_values(octets: bytes) -> None:
    """Refuse JSON with too many values before Python makes objects of them: 10 MB can hold five million."""
    if sum(map(octets.count, VALUE_MARKS)) < MAX_VALUES:
        return
    marks = (match for match in _STRING_OR_MARK.finditer(octets) if match[0] in VALUE_MARKS)
    if next(islice(marks, MAX_VALUES, None), None):
        raise invalid("body", f"has more than {MAX_VALUES:,} values")


def wrong_type(*kinds: str) -> UnsupportedMediaType:
    """The body is of another type than these."""
    return UnsupportedMediaType(f"the body has to be {' or '.join(kinds)}, and Content-Type has to say so")


def _json_codec(request: Request) -> str:
    """Return the codec for the body. JSON has no charset but UTF-8 (RFC 8259, 8.1), of which US-ASCII is a part."""
    codec = request_codec(request) or UTF_8
    if codec not in (UTF_8, "ascii"):
        raise UnsupportedMediaType("JSON has to be UTF-8, and Content-Type must not declare another charset")
    return codec


def _value_of(line: bytes, codec: str) -> object:
    try:
        return parse(line, codec)
    except InvalidFields as error:
        return error


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise _RefusedError(f"has the name {printable(_repeated(pairs), 80)!r} twice in one object")
    return values


def _repeated(pairs: list[tuple[str, object]]) -> str:
    """Return the first name that comes again."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            break
        seen.add(name)
    return name


def _refuse_constant(name: str) -> NoReturn:
    raise _RefusedError(f"is not JSON: {name} is no number there")


def _integer(digits: str) -> int:
    return int(digits[:40])  # beyond 64 bits all are alike, and thousands of digits take long
