"""The errors of validation, each with the field it is about."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime


class ValidationError(Exception):
    """A field cannot be taken as it is: `field` names it, `message` goes on from there ("is missing")."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field} {message}")
        self.field = field
        self.message = message


class MissingFields(ValidationError):
    """Fields that are needed are absent or empty; `fields` names all of them."""

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__(fields[0], "is missing")
        self.fields = tuple(fields)

    def __str__(self) -> str:
        return f"Missing fields: {', '.join(self.fields)}"


class BadEventId(ValidationError):
    """The event_id is not a 64-bit integer."""

    def __init__(self) -> None:
        super().__init__("event_id", "is not an integer of 64 bits")

    def __str__(self) -> str:
        return "Bad event_id"


class BadTimestamp(ValidationError):
    """The timestamp is not of the form YYYY-MM-DD HH:MM:SS, or not a real time."""

    def __init__(self, message: str = "is not a real time of the form YYYY-MM-DD HH:MM:SS") -> None:
        super().__init__("timestamp", message)

    def __str__(self) -> str:
        return "Bad timestamp"


class SkippedTime(BadTimestamp):
    """The clocks of the zone never show this time: they are put forward over it."""

    def __init__(self) -> None:
        super().__init__("does not exist: the clocks are put forward over it that day")


class RepeatedTime(BadTimestamp):
    """The clocks of the zone show this time twice: they are put back. `readings` are the two instants."""

    def __init__(self, readings: Sequence[datetime]) -> None:
        super().__init__("comes twice: the clocks are put back that day")
        self.readings = tuple(readings)


class BadTime(ValidationError):
    """The time is not one of RFC 3339, or not a real one."""

    def __init__(self) -> None:
        super().__init__("due_at", "is not a real time of the form 2030-01-02T08:00:00+08:00 (RFC 3339)")
