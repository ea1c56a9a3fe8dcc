"""Seconds since 1970 UTC, as the tables have them, as aware times."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(seconds: int) -> datetime:
    """That second, in UTC."""
    return datetime.fromtimestamp(seconds, UTC)


def moment_or_none(seconds: int | None) -> datetime | None:
    """That second, in UTC, if there is one."""
    return None if seconds is None else moment(seconds)
