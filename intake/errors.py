"""Validation errors. Each one names its field."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from intake.text import one_line
from intake.typos import closest

MAX_NAME_LENGTH = 80  # characters of an unknown name that an error shows
NOT_64_BITS = "is not a 64-bit integer"


class ValidationError(Exception):
    """A field is invalid. `field` is its name, and `message` continues the sentence ("is missing")."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field
        self.message = message


class MissingFields(ValidationError):
    """Required fields are absent or empty. `fields` lists all of them."""

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__(fields[0], "is missing")
        self.fields = tuple(fields)

    def __str__(self) -> str:
        return f"Missing fields: {', '.join(self.fields)}"


class UnknownField(ValidationError):
    """A field is not known. The message suggests the known one that its sender probably meant, if there is one."""

    def __init__(self, name: str, prefix: str, known: Collection[str]) -> None:
        """`prefix` is what all `known` names begin with."""
        shown = one_line(name[:MAX_NAME_LENGTH])
        meant = closest(name, known, prefix)
        self._suggestion = f"; did you mean {meant}?" if meant else ""
        super().__init__(shown, f"is not a known field{self._suggestion}")

    def __str__(self) -> str:
        return f"unknown field {self.field}{self._suggestion}"


class BadEventId(ValidationError):
    """The event_id is not a 64-bit integer."""

    def __init__(self) -> None:
        super().__init__("event_id", NOT_64_BITS)

    def __str__(self) -> str:
        return "Bad event_id"


class BadTimestamp(ValidationError):
    """The timestamp does not have the form YYYY-MM-DD HH:MM:SS, or is not a valid time."""

    def __init__(self, message: str = "is not valid; use YYYY-MM-DD HH:MM:SS") -> None:
        super().__init__("timestamp", message)

    def __str__(self) -> str:
        return "Bad timestamp"


class SkippedTime(BadTimestamp):
    """Clocks in the zone skip this time when they go forward."""

    def __init__(self) -> None:
        super().__init__("does not exist: clocks skip it when they go forward that day")


class RepeatedTime(BadTimestamp):
    """Clocks in the zone show this time twice because they go back. `readings` are the two instants."""

    def __init__(self, readings: Sequence[datetime]) -> None:
        super().__init__("occurs twice: clocks go back that day")
        self.readings = tuple(readings)


class BadTime(ValidationError):
    """The time is not in the form of RFC 3339, or is not a valid time."""

    def __init__(self) -> None:
        super().__init__("due_at", "is not an RFC 3339 time, such as 2030-01-02T08:00:00+08:00")
