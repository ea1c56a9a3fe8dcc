"""Large answers: sent in pieces, a few at a time, and not for ever.

A client that reads slowly holds a thread of the server, or all of the answer in memory. So each large answer takes a
permit until it has been read. Who finds none is told to come again (503).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

from flask import Flask, Response
from werkzeug.exceptions import ServiceUnavailable

from web.body_limits import READ_SIZE
from web.errors import answer_http_error
from web.services import current_services

LARGE = 1_000_000  # bytes; less than that fits into the buffers of a connection
DOWNLOAD_TIMEOUT = 600.0  # seconds


def register(app: Flask) -> None:
    """Let every large answer of `app` wait for a permit, whichever route it comes from."""
    app.after_request(limit_large_answer)


def begin_download() -> ExitStack:
    """Take a permit, which is given back when the result is closed. Raises ServiceUnavailable."""
    downloads = current_services().body_limits.downloads
    downloads.acquire()
    resources = ExitStack()
    resources.callback(downloads.release)
    return resources


def send_in_parts(response: Response, parts: Iterable[bytes], resources: ExitStack) -> Response:
    """Let `parts`, of a known length, be the body of a response; close `resources` when it has been sent or not."""
    response.direct_passthrough = False
    response.response = _until_closed(parts, resources)
    response.call_on_close(resources.close)  # for a body that nobody begins to read
    return response


def limit_large_answer(response: Response) -> Response:
    """Send a body that is in memory as every other download."""
    body = response.response
    if not isinstance(body, list) or len(body) != 1 or len(body[0]) < LARGE:
        return response
    try:
        resources = begin_download()
    except ServiceUnavailable as error:
        response.close()
        return answer_http_error(error)
    content = response.get_data()
    response.content_length = len(content)
    return send_in_parts(response, _pieces(content), resources)


def _pieces(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), READ_SIZE):
        yield content[start : start + READ_SIZE]


def _until_closed(parts: Iterable[bytes], resources: ExitStack) -> Iterator[bytes]:
    """Yield the parts. One that is too late breaks off the answer: the connection ends before its Content-Length."""
    deadline = time.monotonic() + DOWNLOAD_TIMEOUT
    with resources:
        for part in parts:
            yield part
            if time.monotonic() > deadline:
                return
