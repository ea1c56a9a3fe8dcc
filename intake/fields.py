"""The fields of a JSON object or of a query string → clean values, or every one that is wrong, at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Generic, TypeVar

from intake.email_fields import clean_event_id
from intake.errors import ValidationError
from intake.text import printable

MAX_ERRORS_IN_TEXT = 3  # `errors` has all of them
MAX_UNKNOWN_FIELDS = 20  # that are named; a body can have millions
T = TypeVar("T")


class InvalidFields(Exception):
    """The request cannot be taken as it is; `errors` names each field that is wrong."""

    def __init__(self, errors: Sequence[ValidationError]) -> None:
        shown = [f"{error.field} {error.message}" for error in errors[:MAX_ERRORS_IN_TEXT]]
        more = [f"and {len(errors) - MAX_ERRORS_IN_TEXT:,} more"] if len(errors) > MAX_ERRORS_IN_TEXT else []
        super().__init__("; ".join(shown + more))
        self.errors = errors

    def as_json(self) -> list[dict[str, str]]:
        """Return the errors as the API reports them."""
        return [{"field": error.field, "message": error.message} for error in self.errors]


def invalid(field: str, message: str) -> InvalidFields:
    """The error that one field makes."""
    return InvalidFields([ValidationError(field, message)])


class Field(Generic[T]):
    """One field of a request. It has a value only if it is valid."""

    __slots__ = ("_errors", "_found")

    def __init__(self, errors: Sequence[ValidationError], *found: T) -> None:
        """`found` is the clean value, or nothing; `errors` are those of all fields of the request."""
        self._errors = errors
        self._found = found

    @property
    def value(self) -> T:
        """The clean value. Raises InvalidFields, as `Fields.check` would have done, if the field is invalid."""
        if not self._found:
            raise InvalidFields(self._errors)
        return self._found[0]

    def value_or(self, default: T) -> T:
        """Return the clean value, or `default` if the field is invalid."""
        return self._found[0] if self._found else default


class Fields:
    """Cleans the fields of a request, one after another, and collects what is wrong.

    `take`, `take_or` and `take_each` each return a Field. Call `check`, which raises all errors at once, before you
    read the values.
    """

    def __init__(self, values: object, known: Collection[str]) -> None:
        if not isinstance(values, dict):
            raise invalid("body", "is not a JSON object")
        self._values = values
        unknown = [name for name in values if name not in known]
        self.errors = _unknown(unknown[:MAX_UNKNOWN_FIELDS], known) if unknown else []

    def take(self, name: str, clean: Callable[[object], T]) -> Field[T]:
        """Clean a field that has to be there."""
        if name in self._values:
            return self._take_at(name, self._values[name], clean)
        self.errors.append(ValidationError(name, "is missing"))
        return Field(self.errors)

    def take_or(self, name: str, clean: Callable[[object], T], default: T) -> Field[T]:
        """Clean a field that may be absent."""
        return self.take(name, clean) if name in self._values else Field(self.errors, default)

    def take_each(
        self, name: str, clean: Callable[[object], T], most: int, default: Sequence[T] | None
    ) -> Field[Sequence[T]]:
        """Clean each value of a list of 1 to `most` values. Without a `default`, the list has to be there."""
        if default is not None and name not in self._values:
            return Field(self.errors, default)
        errors_before = len(self.errors)
        values = self.take(name, list_of(most)).value_or([])
        each = [self._take_at(f"{name}[{position}]", value, clean) for position, value in enumerate(values)]
        if len(self.errors) > errors_before:
            return Field(self.errors)
        return Field(self.errors, [field.value for field in each])

    def check(self) -> None:
        """Raise InvalidFields if anything was wrong."""
        if self.errors:
            raise InvalidFields(self.errors)

    def _take_at(self, place: str, value: object, clean: Callable[[object], T]) -> Field[T]:
        try:
            return Field(self.errors, clean(value))
        except ValidationError as error:
            self.errors.append(ValidationError(place, error.message))
            return Field(self.errors)


def _unknown(names: Sequence[str], known: Collection[str]) -> list[ValidationError]:
    message = f"is not known here; what is known: {', '.join(known) or 'nothing'}"
    return [ValidationError(printable(name, 80), message) for name in names]


def text(clean: Callable[[str], T]) -> Callable[[object], T]:
    """A string that is not empty, cleaned by `clean`."""

    def cleaned(value: object) -> T:
        if not isinstance(value, str):
            raise ValidationError("value", "is not a string")
        if not value:
            raise ValidationError("value", "is empty")
        return clean(value)

    return cleaned


def choice(*allowed: str) -> Callable[[object], str]:
    """One of these words."""

    def cleaned(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValidationError("value", f"is none of {', '.join(allowed)}")
        return value

    return cleaned


def list_of(most: int) -> Callable[[object], list[object]]:
    """A list of 1 to `most` values."""

    def cleaned(value: object) -> list[object]:
        if not isinstance(value, list) or not 0 < len(value) <= most:
            raise ValidationError("value", f"is not a list of 1 to {most:,} values")
        return value

    return cleaned


def number(value: object) -> int:
    """An integer of 64 bits; its digits as a string are taken too, since JavaScript rounds what is above 2^53."""
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:  # JSON knows no difference
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValidationError("value", "is not an integer of 64 bits")
    return clean_event_id(str(value))


def recipient_number(digits: str) -> int:
    """The recipient_id in an address."""
    try:
        return clean_event_id(digits)
    except ValidationError as error:
        raise ValidationError("recipient_id", error.message) from None
