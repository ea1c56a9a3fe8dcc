"""The log of requests: a line for each, as text or JSON, on stderr. No query, no header, no body is ever in it."""

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
TEXT = "%s %s %s %s %s %s %.1f ms %d B\n"
JSON = (
    '{"time": "%s", "request_id": "%s", "client": "%s", "method": "%s", "path": "%s", "status": %s, '
    '"milliseconds": %.1f, "bytes": %d}\n'
)
SAFE_FIELD = re.compile(rf"[!#-\[\]-~]{{1,{MAX_FIELD_LENGTH}}}")  # needs no escaping in either form
SECRET_PATHS = re.compile(r"(/unsubscribe/).+", re.DOTALL)
NOT_LOGGED = ("/healthz", "200")  # requested every few seconds


class RequestLog:
    """Writes lines of one form, 'text' or 'json'; may be shared by threads."""

    def __init__(self, form: str) -> None:
        self._is_json = form == "json"
        self._line = JSON if self._is_json else TEXT
        self._second = (0, "")

    def write(self, environ: WSGIEnvironment, name: str, status: str, seconds: float, size: int) -> None:
        """One line. A log that cannot be written does not keep anybody from being served."""
        path = environ.get("PATH_INFO", "")
        if (path, status) == NOT_LOGGED:
            return
        client = self._shown(environ.get("REMOTE_ADDR") or "-")
        method = self._shown(environ["REQUEST_METHOD"])
        line = self._line % (self._now(), name, client, method, self._path(path), status, seconds * 1000, size)
        with suppress(OSError):  # stderr was closed, or its disk is full
            os.write(STDERR, line.encode())

    def _path(self, path: str) -> str:
        if SAFE_FIELD.fullmatch(path) and not path.startswith("/unsubscribe/"):
            return path
        text = path.encode("latin-1", "replace").decode("utf-8", "replace")
        return self._shown(SECRET_PATHS.sub(r"\1…", text))

    def _shown(self, text: str) -> str:
        if SAFE_FIELD.fullmatch(text):
            return text
        return json.dumps(escaped(text))[1:-1] if self._is_json else escaped(text)

    def _now(self) -> str:
        """The time in UTC, to the millisecond; the second is put into words once."""
        now = time.time()
        second, text = self._second
        if second != int(now):
            second, text = int(now), time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
            self._second = (second, text)
        return f"{text}.{int((now - second) * 1000):03d}Z"


def escaped(text: str) -> str:
    """Return one field of a line: cut to a length, without spaces, and with everything unprintable escaped."""
    cut = (text if len(text) <= MAX_FIELD_LENGTH else text[:MAX_FIELD_LENGTH] + "…").replace(" ", "%20")
    return one_line(cut)
