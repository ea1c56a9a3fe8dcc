"""The log of requests: a line for each, as text or JSON, on stderr. No query, no header, no body is ever in it."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

STDERR = 2
MOST = 300  # characters of one field
SECRET_PATHS = re.compile(r"(/unsubscribe/).+", re.DOTALL)
UNREMARKABLE = ("/healthz", "200")  # asked every few seconds, for years


class RequestLog:
    """Writes lines; may be shared by threads."""

    def __init__(self, form: str) -> None:
        self._line: Callable[[dict[str, Any]], str] = as_json if form == "json" else as_text

    def write(self, environ: WSGIEnvironment, name: str, status: str, seconds: float, size: int) -> None:
        """One line. A log that cannot be written does not keep anybody from being served."""
        path = environ.get("PATH_INFO", "")
        if (path, status) == UNREMARKABLE:
            return
        line = self._line(
            {
                "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "request_id": name,
                "client": shown(environ.get("REMOTE_ADDR") or "-"),
                "method": shown(environ["REQUEST_METHOD"]),
                "path": shown_path(path),
                "status": int(status),
                "milliseconds": round(seconds * 1000, 1),
                "bytes": size,
            }
        )
        with suppress(OSError):  # stderr was closed, or its disk is full
            os.write(STDERR, line.encode())


def as_json(fields: dict[str, Any]) -> str:
    """The line as one object of JSON, ASCII only."""
    return json.dumps(fields) + "\n"


def as_text(fields: dict[str, Any]) -> str:
    """The line for a person: the values in the order of the fields."""
    return "{time} {request_id} {client} {method} {path} {status} {milliseconds} ms {bytes} B\n".format(**fields)


def shown_path(path: str) -> str:
    """The path, with what is secret in it left out."""
    if path.isascii() and not path.startswith("/unsubscribe/"):
        return shown(path)
    return shown(SECRET_PATHS.sub(r"\1…", path.encode("latin-1", "replace").decode("utf-8", "replace")))


def shown(text: str) -> str:
    """`text` on one line, cut to a length, with nothing in it that a terminal or a reader of logs would act on."""
    if len(text) <= MOST and text.isascii() and text.isprintable() and " " not in text:
        return text
    cut = (text if len(text) <= MOST else text[:MOST] + "…").replace(" ", "%20")
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in cut)
