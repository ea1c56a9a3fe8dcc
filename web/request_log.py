"""The request log: one line per request on stderr, as text or JSON, without queries, headers and bodies."""

from __future__ import annotations

import json
import os
import re
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from intake.text import one_line

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

STDERR = 2
MAX_FIELD_LENGTH = 300  # characters
FIELDS = ("time", "request_id", "client", "method", "path", "status", "milliseconds", "bytes")
TEXT = "%s %s %s %s %s %s %.1f ms %d B\n"
SECRET_PATHS = re.compile(r"(/unsubscribe/).+", re.DOTALL)
NOT_LOGGED = ("/healthz", "200")  # requested every few seconds


class RequestLog:
    """Writes lines of one form, 'text' or 'json'. Thread-safe."""

    def __init__(self, form: str) -> None:
        self._is_json = form == "json"
        self._second = (0, "")

    def write(self, environ: WSGIEnvironment, name: str, status: str, seconds: float, size: int) -> None:
        """Write one line. Errors are ignored, so that the request is still served."""
        path = environ.get("PATH_INFO", "")
        if (path, status) == NOT_LOGGED:
            return
        fields = (
            self._now(),
            name,
            _escaped(environ.get("REMOTE_ADDR") or "-"),
            _escaped(environ["REQUEST_METHOD"]),
            _escaped(_without_secret(path)),
            int(status),
            round(seconds * 1000, 1),
            size,
        )
        line = json.dumps(dict(zip(FIELDS, fields, strict=True))) + "\n" if self._is_json else TEXT % fields
        with suppress(OSError):  # stderr is closed, or its disk is full
            os.write(STDERR, line.encode())

    def _now(self) -> str:
        """Return the time in UTC, to the millisecond. Formats each second only once."""
        now = time.time()
        second, text = self._second
        if second != int(now):
            second, text = int(now), time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
            self._second = (second, text)
        return f"{text}.{int((now - second) * 1000):03d}Z"


def _without_secret(path: str) -> str:
    text = path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace")
    return SECRET_PATHS.sub(r"\1…", text) if "/unsubscribe/" in text else text


def _escaped(text: str) -> str:
    """Return a field of a line: truncated, without spaces, and with unprintable characters escaped."""
    if len(text) <= MAX_FIELD_LENGTH and text.isprintable() and " " not in text:
        return text
    cut = (text if len(text) <= MAX_FIELD_LENGTH else text[:MAX_FIELD_LENGTH] + "…").replace(" ", "%20")
    return one_line(cut)
