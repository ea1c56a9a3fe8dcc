"""Text of unknown origin, made safe to show: whatever it contains, it cannot control a terminal or forge a log line."""

from __future__ import annotations


def printable(text: str, limit: int = 2000) -> str:
    """Escape everything unprintable except line feeds, and cut the text to `limit` characters."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return "\n".join(map(one_line, short.split("\n")))


def one_line(text: str) -> str:
    """Escape everything unprintable, line breaks included, as in a Python string literal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
