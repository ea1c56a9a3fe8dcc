"""Check what people search for."""

from __future__ import annotations

from collections.abc import Sequence

from database import Word, fold_value
from intake.address import clean_domain, fold
from intake.email_fields import UNSTORABLE, UNSTORABLE_MESSAGE
from intake.errors import ValidationError

MAX_LENGTH = 254  # characters, as of an address


def clean_search(text: str) -> Sequence[Word]:
    """Return the words of a search for recipients. Raises ValidationError."""
    return tuple(Word(fold(word), fold_value(word)) for word in _words(text))


def clean_subject_search(text: str) -> Sequence[str]:
    """Return the words of a search for emails, as `Emails.search` takes them. Raises ValidationError."""
    return tuple(map(fold_value, _words(text)))


def clean_searched_domain(text: str) -> str:
    """Return a domain in the form in which addresses have it. It may begin with @. Raises ValidationError."""
    domain = _checked(text, "domain").strip().removeprefix("@")
    if not domain:
        raise ValidationError("domain", "is empty")
    try:
        return clean_domain(domain, single_label=True)
    except ValidationError:
        return domain.lower()  # no address has it, unless it was saved under earlier rules


def _words(text: str) -> list[str]:
    words = list(dict.fromkeys(_checked(text, "search").split()))
    if not words:
        raise ValidationError("search", "is empty")
    return words


def _checked(text: str, field: str) -> str:
    if UNSTORABLE.search(text):
        raise ValidationError(field, UNSTORABLE_MESSAGE)
    if len(text) > MAX_LENGTH:
        raise ValidationError(field, f"is too long (limit: {MAX_LENGTH} characters)")
    return text
