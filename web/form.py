"""Read the fields of a form without changing a character, and within a size limit.

Werkzeug's form parser replaces bytes that are not UTF-8 with U+FFFD, ignores the encoding that a part declares, and
truncates a body that exceeds its limit. Mail must not be sent with such damage.
"""

from __future__ import annotations

import re
import time
from binascii import a2b_qp
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import IO, TYPE_CHECKING, NamedTuple

from flask import Request
from werkzeug.datastructures import Headers
from werkzeug.exceptions import (
    BadRequest,
    ClientDisconnected,
    LengthRequired,
    RequestEntityTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder
from werkzeug.wsgi import get_content_length, get_input_stream

from intake.errors import UnknownField, ValidationError
from web.body_limits import MIN_STALL, READ_SIZE, READ_TIMEOUT
from web.declared_encoding import (
    CHARSET_FIELD,
    DeclaredEncodingError,
    codec_of,
    declared_codec,
    decode_text,
    decode_transfer,
)

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

MAX_FIELDS = 1_000
RESERVED_PREFIX = "email_"  # an unknown field whose name begins with this, in any case, is a typo
REPEATED = "appears more than once"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
CHARSETS_OF_NAMES = ("", "ascii", "us-ascii", "utf-8", "iso-8859-1")  # that Werkzeug decodes
EXTENDED_NAME = re.compile(r"""(?<![^;\s])name\*[^=]*+=\s*+"?([^';"]*)'""", re.IGNORECASE)
LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")


class Part(NamedTuple):
    """A part of multipart/form-data. `value` is None for a file."""

    name: str
    value: bytes | None
    headers: Headers


class Form(NamedTuple):
    """The fields of a form, decoded."""

    fields: dict[str, str]  # those that may appear once
    options: Mapping[str, list[str]]  # those that may be repeated, with their values in order


NO_OPTIONS: Mapping[str, list[str]] = {}


def read_form(request: Request, names: Collection[str], limit: int, options: Collection[str] | None = None) -> Form:
    """Return the fields in `names` and `options`, decoded as the client declares or else as UTF-8.

    Other fields are ignored. But if there are `options`, UnknownField is raised for one that begins with
    RESERVED_PREFIX. The body may have `limit` bytes. Raises ValidationError if a field in `names` appears twice, or if
    any field is a file, or is not in the encoding that its part or `_charset_` declares, and UnsupportedMediaType if
    the Content-Type is not supported. With `options`, their names are not allowed in the query string either.
    """
    environ = request.environ  # once, because it costs a microsecond
    if options is not None and environ.get("QUERY_STRING"):
        _refuse_in_query(request, names, options)
    body = read_body(environ, limit)
    content_type = environ.get("CONTENT_TYPE", "")
    mimetype = content_type.partition(";")[0].strip().lower()
    if mimetype == MULTIPART:
        parts = multipart_parts(body, request.mimetype_params.get("boundary", ""))
        return _decoded_parts(parts, names, request_codec(request), options)
    if body and mimetype != URLENCODED:
        raise UnsupportedMediaType(f"the request body must be {URLENCODED} or {MULTIPART}")
    may_be_chunked = "HTTP_TRANSFER_ENCODING" in environ or "CONTENT_LENGTH" not in environ
    if body and may_be_chunked and get_content_length(environ) is None:
        # Without it, a truncated chunked body would look complete. A multipart body has an end mark.
        raise LengthRequired(f"a body of type {URLENCODED} requires Content-Length")
    return _decoded(urlencoded_pairs(body), names, request_codec(request) if ";" in content_type else None, options)


def read_page_form(request: Request, names: Collection[str]) -> dict[str, str]:
    """Like `read_form`, for a form of a page, whose body may have been read already to check its CSRF token."""
    return read_page_form_with_options(request, names, None).fields


def read_page_form_with_options(request: Request, names: Collection[str], options: Collection[str] | None) -> Form:
    """Like `read_page_form`, for a form in which the fields in `options` may be repeated."""
    if request.mimetype != URLENCODED:
        raise UnsupportedMediaType(f"the request body must be {URLENCODED}")
    return _decoded(urlencoded_pairs(request.get_data()), names, request_codec(request), options)


def request_codec(request: Request) -> str | None:
    """Return the codec for the charset of the request's Content-Type, if there is one. Raises UnsupportedMediaType."""
    try:
        return declared_codec(request.environ.get("CONTENT_TYPE", ""))
    except DeclaredEncodingError as error:
        raise UnsupportedMediaType(f"the Content-Type {error}") from None


def _refuse_in_query(request: Request, names: Collection[str], options: Collection[str]) -> None:
    """Raise ValidationError if one of `options`, or a misspelt one, is in the query string, where it has no effect.

    The fields in `names` have none there either, but they are missed in the body.
    """
    for name in request.args:
        if name not in names and _is_option(name, names, options):
            raise ValidationError(name, "is in the query string; send it in the body of the request")


def _decoded(
    pairs: Iterator[tuple[str, bytes]],
    names: Collection[str],
    codec: str | None,
    options: Collection[str] | None = None,
) -> Form:
    fields: dict[str, bytes] = {}
    charsets: list[str] = []
    others: list[tuple[str, bytes]] = []
    for name, value in pairs:
        if name in names:
            if name in fields:
                raise ValidationError(name, REPEATED)
            fields[name] = value
        elif name.lower() == CHARSET_FIELD:
            charsets.append(value.decode(errors="replace"))
        elif options is not None and _is_option(name, names, options):
            others.append((name, value))
    codec = _codec_of_all(charsets, codec) if charsets else codec
    once = {name: _text(name, value, codec) for name, value in fields.items()}
    if not others:
        return Form(once, NO_OPTIONS)
    return Form(once, _by_name((name, _text(name, value, codec)) for name, value in others))


def _decoded_parts(
    parts: Iterator[Part], names: Collection[str], codec: str | None, options: Collection[str] | None
) -> Form:
    fields: dict[str, Part] = {}
    files: list[str] = []
    charsets: list[str] = []
    others: list[Part] = []
    for part in parts:
        is_option = part.name not in names and options is not None and _is_option(part.name, names, options)
        if part.name in names or is_option:
            if part.value is None:
                files.append(part.name)
            elif is_option:
                others.append(part)
            elif part.name in fields:
                raise ValidationError(part.name, REPEATED)
            else:
                fields[part.name] = part
        elif part.name.lower() == CHARSET_FIELD:
            charsets.append(_text_of(part, None))
    codec = _codec_of_all(charsets, codec) if charsets else codec
    for name in files:
        if name not in fields:
            raise ValidationError(name, "was sent as a file; send it as an ordinary field")
    once = {name: _text_of(part, codec) for name, part in fields.items()}
    return Form(once, _by_name((part.name, _text_of(part, codec)) for part in others))


def _is_option(name: str, names: Collection[str], options: Collection[str]) -> bool:
    """Return whether a field is one of `options`. Raises UnknownField if it is probably a misspelt one."""
    if name in options:
        return True
    if name.strip()[: len(RESERVED_PREFIX)].lower() == RESERVED_PREFIX:
        known = [each for each in (*names, *options) if each.startswith(RESERVED_PREFIX)]
        raise UnknownField(name, RESERVED_PREFIX, known)
    return False


def _by_name(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)
    return values


def _codec_of_all(charsets: Iterable[str], codec: str | None) -> str | None:
    """Return the codec for the values of `_charset_`, which must not contradict the Content-Type."""
    try:
        named = codec_of(filter(None, map(str.strip, charsets)))
    except DeclaredEncodingError as error:
        raise ValidationError(CHARSET_FIELD, str(error)) from None
    if codec and named and codec != named:
        raise ValidationError(CHARSET_FIELD, "differs from the charset in the Content-Type of the request")
    return codec or named


def _text(name: str, octets: bytes, codec: str | None) -> str:
    try:
        return octets.decode() if codec is None else decode_text(octets, codec)
    except UnicodeDecodeError:
        raise ValidationError(name, "is not UTF-8") from None
    except DeclaredEncodingError as error:
        raise ValidationError(name, str(error)) from None


def _text_of(part: Part, codec: str | None) -> str:
    try:
        octets = decode_transfer(part.value or b"", part.headers.getlist("Content-Transfer-Encoding"))
        codec = _codec_of_part(part.headers) or codec
    except DeclaredEncodingError as error:
        raise ValidationError(part.name, str(error)) from None
    return _text(part.name, octets, codec)


def _codec_of_part(headers: Headers) -> str | None:
    types = headers.getlist("Content-Type")
    if any(each.lower().startswith(("multipart/", "message/")) for each in types):
        raise DeclaredEncodingError("is a multipart or message part; send plain text")
    if any(each.lower() not in ("", "identity") for each in headers.getlist("Content-Encoding")):
        raise DeclaredEncodingError("has a Content-Encoding, which is not supported")
    codecs = {codec for each in types if (codec := declared_codec(each))}
    if len(codecs) > 1:
        raise DeclaredEncodingError("declares more than one charset")
    return codecs.pop() if codecs else None


def read_body(environ: WSGIEnvironment, limit: int) -> bytes:
    """Return the body of a request. Raises RequestEntityTooLarge as soon as it is known to exceed `limit`."""
    if environ.get("HTTP_CONTENT_ENCODING", "identity").lower() != "identity":
        raise UnsupportedMediaType("Content-Encoding is not supported")
    if environ.get("HTTP_CONTENT_TRANSFER_ENCODING", "binary").strip().lower() not in ("7bit", "8bit", "binary"):
        raise UnsupportedMediaType("Content-Transfer-Encoding is not supported")
    announced = get_content_length(environ)
    if announced is not None and announced > limit:
        raise RequestEntityTooLarge
    began = time.monotonic()
    try:
        stream = get_input_stream(environ) if announced is None else environ["wsgi.input"]
        body = _read(stream, announced, limit, began + READ_TIMEOUT)
    except (OSError, ValueError):
        raise ClientDisconnected from None
    if announced is not None and len(body) < announced:
        if time.monotonic() - began >= MIN_STALL:
            raise RequestTimeout
        raise BadRequest("the body is shorter than its Content-Length")
    return body


def _read(stream: IO[bytes], announced: int | None, limit: int, deadline: float) -> bytes:
    body = bytearray()
    most = limit + 1 if announced is None else announced
    while len(body) < most and (chunk := stream.read(min(READ_SIZE, most - len(body)))):
        body += chunk
        if len(body) > limit:
            raise RequestEntityTooLarge
        if time.monotonic() > deadline:
            raise RequestTimeout
    return bytes(body)


def urlencoded_pairs(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the names and values of an urlencoded body, in order."""
    if body.count(b"&") >= MAX_FIELDS:
        raise ValidationError("form", f"contains more than {MAX_FIELDS} fields")
    for pair in body.replace(b"+", b" ").split(b"&"):
        name, _, value = pair.partition(b"=")
        yield _unescape(name).decode(errors="replace"), _unescape(value)


def _unescape(value: bytes) -> bytes:
    if b"%" not in value:
        return value
    # Decoded as quoted-printable in C: ten times as fast as urllib, with a fifth of the memory.
    escaped = LONE_PERCENT.sub("%25", value.decode("latin-1")).encode("latin-1")
    return a2b_qp(escaped.replace(b"=", b"=3D").replace(b"%", b"="))


def multipart_parts(body: bytes, boundary: str) -> Iterator[Part]:
    """Yield the named parts of a multipart body, in order. The content of files is skipped."""
    part: Field | File | None = None
    value = bytearray()
    for event in _multipart_events(body, boundary):
        if isinstance(event, Field | File):
            part = event
            value.clear()
            _refuse_other_names(event.headers.get("Content-Disposition", ""))
        elif isinstance(event, Data) and part is not None and part.name is not None:
            if isinstance(part, Field):
                value += event.data
            if not event.more_data:
                yield Part(part.name, bytes(value) if isinstance(part, Field) else None, part.headers)


def _refuse_other_names(disposition: str) -> None:
    """Reject a `name*=` in a charset that Werkzeug does not decode (RFC 2231, RFC 5987)."""
    if "*" in disposition and any(
        charset.strip().lower() not in CHARSETS_OF_NAMES for charset in EXTENDED_NAME.findall(disposition)
    ):
        raise ValidationError("form", "contains a name* in an unsupported charset; send names as UTF-8")


def _multipart_events(body: bytes, boundary: str) -> Iterator[Event]:
    decoder = MultipartDecoder(boundary.encode(), max_parts=MAX_FIELDS)
    decoder.receive_data(body)
    decoder.receive_data(None)
    try:
        while not isinstance(event := decoder.next_event(), Epilogue):
            yield event
    except RequestEntityTooLarge:
        raise ValidationError("form", f"contains more than {MAX_FIELDS} fields") from None
    except ValueError:
        raise ValidationError("form", "is not valid multipart/form-data") from None
