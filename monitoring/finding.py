"""What a check has to say: one line for a person, with its remedy."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """`level` is ok, warning (it works, but look at it) or error (mail does not go out as it should)."""

    level: str
    subject: str
    text: str
    remedy: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether nothing has to be done."""
        return self.level == "ok"


def ok(subject: str, text: str) -> Finding:
    """Nothing is to be done."""
    return Finding("ok", subject, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """It works, but not as it should."""
    return Finding("warning", subject, text, remedy)


def error(subject: str, text: str, remedy: str) -> Finding:
    """Mail does not go out, or will soon not."""
    return Finding("error", subject, text, remedy)
