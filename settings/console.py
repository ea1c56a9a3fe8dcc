"""Keep printing from failing because of the encoding of a standard stream."""

from __future__ import annotations

import io
import sys


def escape_unencodable() -> None:
    r"""Make stdout and stderr escape characters that their encoding lacks, as in `\u4f8b`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
