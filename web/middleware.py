"""WSGI middleware that adds security headers and a request id to every response, and logs the request.

It wraps Flask, so that it sees every response. It costs a few microseconds per request.
"""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from flask import request

from web.body_limits import WSGI_INPUT, BodyLimits, RequestBody
from web.request_log import RequestLog
from web.slow_clients import SlowClients

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
SERVER = "Granian"  # its threads wait for clients without a timeout
MAX_WHOLE = 65_536  # bytes of a response that is sent in one piece
REQUEST_ID_KEY = "email_endpoint.request_id"


class RequestMiddleware:
    """Wraps a WSGI application. With `trusts_proxy`, the id of a request may come from X-Request-Id."""

    def __init__(self, app: WSGIApplication, log: RequestLog | None, limits: BodyLimits, trusts_proxy: bool) -> None:
        self._app = app
        self._limits = limits
        self._log = log
        self._trusts_proxy = trusts_proxy
        self._prefix = os.urandom(6).hex()
        self._numbers = itertools.count(1)
        self._is_watched = False

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not self._is_watched:
            self._watch(environ)
        began = time.perf_counter()
        requested_id = environ.get("HTTP_X_REQUEST_ID", "") if self._trusts_proxy else ""
        name = requested_id if REQUEST_ID.fullmatch(requested_id) else f"{self._prefix}-{next(self._numbers)}"
        environ[REQUEST_ID_KEY] = name
        limits = self._limits
        request_body = environ[WSGI_INPUT] = RequestBody(environ, limits.anonymous)
        status, size = "", None

        def start(line: str, headers: list[tuple[str, str]], *failure: object) -> object:
            nonlocal status, size
            present = {header.lower(): value for header, value in headers}
            headers += [pair for lower, pair in PAIRS if lower not in present]
            headers.append(("X-Request-Id", name))
            if environ["wsgi.url_scheme"] == "https":
                headers.append(HSTS)
            status, length = line[:3], present.get("content-length")
            size = None if length is None else int(length)
            return start_response(line, headers, *failure)  # type: ignore[arg-type]

        active = limits.active
        active.add(request_body)
        try:
            body = self._app(environ, start)  # type: ignore[arg-type]
        finally:
            active.discard(request_body)
            request_body.end()
        if request_body.has_rest():
            body = limits.discard_after(body, request_body)
        elif size is not None and size <= MAX_WHOLE:
            body = _whole(body)
        if self._log is None:
            return body
        if size is None:
            return self._logged_at_end(body, environ, name, status, began)
        self._log.write(environ, name, status, time.perf_counter() - began, size)
        return body

    def _watch(self, environ: WSGIEnvironment) -> None:
        """Start watching the clients of this process. Not earlier, because a thread does not survive a fork."""
        self._is_watched = True
        if environ.get("SERVER_SOFTWARE") == SERVER:
            SlowClients(self._limits).start()

    def _logged_at_end(
        self, body: Iterable[bytes], environ: WSGIEnvironment, name: str, status: str, began: float
    ) -> Iterator[bytes]:
        """Yield the chunks of a body of unknown length. Log the request when the body ends or is aborted."""
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


def _whole(body: Iterable[bytes]) -> list[bytes]:
    """Return a body as a list, which granian sends in one piece. Others pass through a channel, chunk by chunk."""
    try:
        return [b"".join(body)]
    finally:
        if hasattr(body, "close"):
            body.close()


def request_id() -> str:
    """Return the id of this request, which is also in its response and in the log."""
    return str(request.environ.get(REQUEST_ID_KEY, "-"))
