"""Text of unknown origin, made fit to be shown."""

from __future__ import annotations


def printable(text: str, limit: int = 2000) -> str:
    """Return a text that can do nothing to a terminal: control characters escaped, and not longer than `limit`."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in short)
