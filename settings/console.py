"""The standard streams: whatever is printed, it never fails because of their encoding."""

from __future__ import annotations

import io
import sys


def escape_unencodable() -> None:
    r"""Let stdout and stderr show characters that their encoding lacks as escapes, such as `\u4f8b`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
