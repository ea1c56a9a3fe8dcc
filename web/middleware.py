"""The edge of the application: every answer gets its headers and an id, and the log a line for every request.

It stands around Flask, so that nothing gets past it, and costs a request a few microseconds.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, cast

from flask import request

from web.body_limits import Bodies
from web.request_log import RequestLog

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "frame-src 'self'; manifest-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "X-Robots-Tag": "noindex",
    "Cache-Control": "no-store",
    "Vary": "Cookie",
}
HSTS = ("Strict-Transport-Security", "max-age=31536000")
PAIRS = [(name.lower(), (name, value)) for name, value in HEADERS.items()]
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
KEY = "email_endpoint.request_id"


class Edge:
    """A WSGI application around another. With `trusting`, a proxy in front may name each request."""

    def __init__(self, app: WSGIApplication, log: RequestLog | None, bodies: Bodies, trusting: bool) -> None:
        self._app = app
        self._bodies = bodies
        self._log = log
        self._trusting = trusting
        self._prefix = os.urandom(6).hex()
        self._numbers = itertools.count(1)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer one request."""
        began = time.perf_counter()
        given = environ.get("HTTP_X_REQUEST_ID", "") if self._trusting else ""
        name = given if REQUEST_ID.fullmatch(given) else f"{self._prefix}-{next(self._numbers)}"
        environ[KEY] = name
        environ["wsgi.input"] = self._bodies.of_stranger(environ["wsgi.input"])
        answer: list[str | int | None] = ["", 0]

        def start(status: str, headers: list[tuple[str, str]], *failure: object) -> object:
            there = {header.lower(): value for header, value in headers}
            headers += [pair for lower, pair in PAIRS if lower not in there]
            headers.append(("X-Request-Id", name))
            if environ["wsgi.url_scheme"] == "https":
                headers.append(HSTS)
            answer[:] = status[:3], int(there["content-length"]) if "content-length" in there else None
            return start_response(status, headers, *failure)  # type: ignore[arg-type]

        body = self._app(environ, start)  # type: ignore[arg-type]
        if self._log is None:
            return body
        status, size = cast("tuple[str, int | None]", tuple(answer))
        if size is None:
            return self._logged_at_its_end(body, environ, name, status, began)
        self._log.write(environ, name, status, time.perf_counter() - began, size)
        return body

    def _logged_at_its_end(
        self, body: Iterable[bytes], environ: WSGIEnvironment, name: str, status: str, began: float
    ) -> Iterator[bytes]:
        """The parts of a body of unknown length; when it has ended, or was broken off, it goes into the log."""
        size = 0
        try:
            for part in body:
                size += len(part)
                yield part
        finally:
            if hasattr(body, "close"):
                body.close()
            if self._log is not None:
                self._log.write(environ, name, status, time.perf_counter() - began, size)


def request_id() -> str:
    """The id of this request, as its answer and the log have it."""
    return str(request.environ.get(KEY, "-"))
