"""Turn the fields of a JSON object or query string into clean values, or report all invalid ones at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Generic, TypeVar

from intake.email_fields import clean_event_id
from intake.errors import MAX_NAME_LENGTH, NOT_64_BITS, ValidationError
from intake.text import printable
from intake.typos import closest

MAX_ERRORS_IN_TEXT = 3  # `errors` has all of them
MAX_ERRORS = 1_000  # in one list of values
MAX_UNKNOWN_FIELDS = 20  # that an error lists; a body can have millions
T = TypeVar("T")


class InvalidFields(Exception):
    """The request is invalid. `errors` has an error for each invalid field."""

    def __init__(self, errors: Sequence[ValidationError]) -> None:
        shown = [f"{error.field} {error.message}" for error in errors[:MAX_ERRORS_IN_TEXT]]
        more = [f"and {len(errors) - MAX_ERRORS_IN_TEXT:,} more"] if len(errors) > MAX_ERRORS_IN_TEXT else []
        super().__init__("; ".join(shown + more))
        self.errors = errors

    def as_json(self) -> list[dict[str, str]]:
        """Return the errors as the API reports them."""
        return [{"field": error.field, "message": error.message} for error in self.errors]


def invalid(field: str, message: str) -> InvalidFields:
    """Return the error for one invalid field."""
    return InvalidFields([ValidationError(field, message)])


class Field(Generic[T]):
    """One field of a request. Only a valid field has a value."""

    __slots__ = ("_errors", "_found")

    def __init__(self, errors: Sequence[ValidationError], *found: T) -> None:
        """`found` is the clean value, if there is one. `errors` are the errors of all fields of the request."""
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
    """Cleans the fields of a request one by one and collects the errors.

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
        """Clean a required field."""
        if name in self._values:
            return self._take_at(name, self._values[name], clean)
        self.errors.append(ValidationError(name, "is missing"))
        return Field(self.errors)

    def take_or(self, name: str, clean: Callable[[object], T], default: T) -> Field[T]:
        """Clean an optional field."""
        return self.take(name, clean) if name in self._values else Field(self.errors, default)

    def take_each(
        self, name: str, clean: Callable[[object], T], most: int, default: Sequence[T] | None, least: int = 1
    ) -> Field[Sequence[T]]:
        """Clean each value of a list of `least` to `most` values. The list is required unless there is a `default`.

        After MAX_ERRORS, the rest is not cleaned.
        """
        if default is not None and name not in self._values:
            return Field(self.errors, default)
        errors_before = len(self.errors)
        values = self.take(name, list_of(most, least)).value_or([])
        each = []
        for position, value in enumerate(values):
            each.append(self._take_at(f"{name}[{position}]", value, clean))
            if len(self.errors) - errors_before >= MAX_ERRORS:
                break
        if len(self.errors) > errors_before:
            return Field(self.errors)
        return Field(self.errors, [field.value for field in each])

    def has_any(self, names: Iterable[str]) -> bool:
        """Return whether the request has one of these fields."""
        return not self._values.keys().isdisjoint(names)

    def check(self) -> None:
        """Raise InvalidFields if there are errors."""
        if self.errors:
            raise InvalidFields(self.errors)

    def _take_at(self, place: str, value: object, clean: Callable[[object], T]) -> Field[T]:
        try:
            return Field(self.errors, clean(value))
        except ValidationError as error:
            self.errors.append(ValidationError(place, error.message))
            return Field(self.errors)


def _unknown(names: Sequence[str], known: Collection[str]) -> list[ValidationError]:
    return [ValidationError(printable(name, MAX_NAME_LENGTH), _unknown_message(name, known)) for name in names]


def _unknown_message(name: str, known: Collection[str]) -> str:
    meant = closest(name, known)
    guess = f"; did you mean {meant}?" if meant else ";"
    return f"is not a known name{guess} known: {', '.join(known) or 'none'}"


def text(clean: Callable[[str], T]) -> Callable[[object], T]:
    """Return a function that accepts a non-empty string and cleans it with `clean`."""

    def cleaned(value: object) -> T:
        if not isinstance(value, str):
            raise ValidationError("value", "is not a string")
        if not value:
            raise ValidationError("value", "is empty")
        return clean(value)

    return cleaned


def choice(*allowed: str) -> Callable[[object], str]:
    """Return a function that accepts one of these words."""

    def cleaned(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise ValidationError("value", f"must be one of: {', '.join(allowed)}")
        return value

    return cleaned


def true_or_false(value: object) -> bool:
    """Return a JSON boolean. Raises ValidationError for anything else, such as 1 or "yes"."""
    if not isinstance(value, bool):
        raise ValidationError("value", "must be true or false")
    return value


def list_of(most: int, least: int = 1) -> Callable[[object], list[object]]:
    """Return a function that accepts a list of `least` to `most` values."""

    def cleaned(value: object) -> list[object]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise ValidationError("value", f"must be a list of {least} to {most:,} values")
        return value

    return cleaned


def number(value: object) -> int:
    """Return a 64-bit integer. A string of digits is accepted too, because JavaScript rounds numbers above 2^53."""
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:  # JSON does not distinguish 1 from 1.0
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValidationError("value", NOT_64_BITS)
    return clean_event_id(str(value))


def recipient_number(digits: str) -> int:
    """Return the recipient_id in a URL."""
    try:
        return clean_event_id(digits)
    except ValidationError as error:
        raise ValidationError("recipient_id", error.message) from None
