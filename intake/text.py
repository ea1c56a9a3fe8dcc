"""Make untrusted text safe to show, so that it cannot control a terminal or forge a log line."""

from __future__ import annotations


def printable(text: str, limit: int = 2000) -> str:
    """Escape unprintable characters except line feeds, and truncate the text to `limit` characters."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return "\n".join(map(one_line, short.split("\n")))


def one_line(text: str) -> str:
    """Escape unprintable characters and line breaks, as in a Python string literal."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
