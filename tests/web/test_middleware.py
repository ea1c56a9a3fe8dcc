"""Granian sends a body that is a list at once, and passes any other body through a channel, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import Any

import pytest

from web.body_limits import BodyLimits
from web.middleware import MAX_WHOLE, RequestMiddleware


class Body:
    """The chunks of a response."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = chunks
        self.is_closed = False

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._chunks)

    def close(self) -> None:
        self.is_closed = True


def answered(body: Body, headers: list[tuple[str, str]]) -> Iterable[bytes]:
    def app(environ: Any, start: Any) -> Body:
        start("200 OK", headers)
        return body

    environ: Any = {"wsgi.input": BytesIO(), "wsgi.url_scheme": "http"}
    return RequestMiddleware(app, None, BodyLimits(), trusts_proxy=False)(environ, lambda *_: lambda _: None)


def test_a_small_response_is_sent_in_one_piece() -> None:
    body = Body(b"Succ", b"essful")
    assert answered(body, [("Content-Length", "10")]) == [b"Successful"]
    assert body.is_closed


@pytest.mark.parametrize("headers", [[], [("Content-Length", str(MAX_WHOLE + 1))]])
def test_a_response_that_is_large_or_of_unknown_length_is_sent_as_it_is_made(headers: list[tuple[str, str]]) -> None:
    body = Body(b"Succ", b"essful")
    assert answered(body, headers) is body
    assert not body.is_closed
