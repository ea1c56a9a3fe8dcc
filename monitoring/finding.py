"""The result of a check: one line for people, with its remedy."""

from __future__ import annotations

from typing import NamedTuple


class Finding(NamedTuple):
    """`level` is ok, warning (sending works, but review this) or error (mail is not going out as it should)."""

    level: str
    subject: str
    text: str
    remedy: str = ""

    @property
    def is_ok(self) -> bool:
        return self.level == "ok"


def ok(subject: str, text: str) -> Finding:
    return Finding("ok", subject, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    return Finding("warning", subject, text, remedy)


def error(subject: str, text: str, remedy: str) -> Finding:
    return Finding("error", subject, text, remedy)
