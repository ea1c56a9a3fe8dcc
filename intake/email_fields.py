"""Fields of a request → clean values, or one error that says what is wrong with which field.

The form endpoint, the JSON API, the command line and the pages all come through here, so what the data layer
and the senders get is always fit to be stored and sent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from database import Email
from intake.encoded_words import hidden_text
from intake.errors import BadEventId, BadTime, BadTimestamp, MissingFields, RepeatedTime, SkippedTime, ValidationError

FIELDS = ("event_id", "email_subject", "email_content", "timestamp")
SUBJECT_LIMIT = 998  # bytes of UTF-8: what one header line may have (RFC 5322 2.1.1), were it not folded

INTEGER = re.compile(r"([+-]?)0*([0-9]{1,19})")  # 19 digits hold 64 bits
MAX_INTEGER_LENGTH = 40  # characters; the expression is slow on thousands of zeros
TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,20}))?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # with every kind of line break among them
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL refuses NUL; lone surrogates have no UTF-8


def clean_email(fields: Mapping[str, str], zone: ZoneInfo) -> Email:
    """The email that the fields describe. A field that is empty counts as missing."""
    missing = [name for name in FIELDS if not fields.get(name)]
    if missing:
        raise MissingFields(missing)
    event_id = clean_event_id(fields["event_id"])
    due_at = clean_timestamp(fields["timestamp"], zone)
    subject = clean_subject(fields["email_subject"])
    content = clean_content(fields["email_content"])
    return Email(event_id=event_id, subject=subject, content=content, due_at=due_at)


def clean_event_id(text: str) -> int:
    """The integer, of 64 bits: ASCII digits with an optional sign, nothing else."""
    match = INTEGER.fullmatch(text) if len(text) <= MAX_INTEGER_LENGTH else None
    number = int(match[1] + match[2]) if match else 2**63
    if not -(2**63) <= number < 2**63:
        raise BadEventId
    return number


def clean_timestamp(text: str, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, of a `YYYY-MM-DD HH:MM:SS` on the clocks of `zone`.

    A time that those clocks skip is refused; of one that they show twice it is the first.
    """
    if not TIMESTAMP.fullmatch(text):
        raise BadTimestamp
    try:
        local = datetime.fromisoformat(text).replace(tzinfo=zone)
        instant = local.astimezone(UTC)
        skipped = instant.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None)
    except (ValueError, OverflowError):  # no real date, or one whose UTC is before year 1 or after 9999
        raise BadTimestamp from None
    if skipped:
        raise SkippedTime
    return instant


def clean_local_time(text: str, zone: ZoneInfo, offset: str = "") -> datetime:
    """The instant, in UTC, of a time that a person chose on the clocks of `zone`, with or without its seconds.

    As clean_timestamp, but of a time that comes twice none is guessed: RepeatedTime, unless `offset` (as +01:00) tells.
    """
    text = text.replace("T", " ")
    text += ":00" * (len(text) == len("2030-01-02 08:00"))
    first = clean_timestamp(text, zone)
    second = datetime.fromisoformat(text).replace(tzinfo=zone, fold=1).astimezone(UTC)
    if first == second:
        return first
    for instant in (first, second):
        if instant.astimezone(zone).isoformat()[19:] == offset:
            return instant
    raise RepeatedTime((first, second))


@lru_cache(maxsize=1024)  # of a thousand emails in a list, most are due at a few times
def clean_time(text: str, zone: ZoneInfo) -> datetime:
    """The instant, in UTC, of an RFC 3339 time; without an offset it is on the clocks of `zone`.

    A fraction of a second is rounded up: nothing is ever early. Leap seconds are refused.
    """
    match = TIME.fullmatch(text)
    if not match:
        raise BadTime
    local, fraction, offset = match.groups()
    try:
        if offset:
            instant = datetime.fromisoformat((local + offset).upper()).astimezone(UTC)
        else:
            instant = clean_timestamp(f"{local[:10]} {local[11:]}", zone)
        return instant + timedelta(seconds=1) if fraction and fraction.strip("0") else instant
    except (BadTimestamp, ValueError, OverflowError):
        raise BadTime from None


def clean_subject(text: str) -> str:
    """The subject, fit for one header: nothing in it can end the line, plainly or once decoded."""
    if not (text.isascii() and text.isprintable()):  # most are
        _refuse_controls(text)
    if len(text.encode()) > SUBJECT_LIMIT:
        raise ValidationError("email_subject", f"is longer than {SUBJECT_LIMIT} bytes")
    if "=?" in text and CONTROL.search(hidden_text(text)):
        raise ValidationError("email_subject", "hides a line break or control character in an encoded word")
    return text


def _refuse_controls(text: str) -> None:
    if UNSTORABLE.search(text):
        raise ValidationError("email_subject", "has a NUL or a lone surrogate")
    if CONTROL.search(text):
        raise ValidationError("email_subject", "has a line break or control character")


def clean_content(text: str) -> str:
    """The content, fit to be stored and sent; its length is bounded by the request's."""
    if "\0" in text or (not text.isascii() and UNSTORABLE.search(text)):  # as UNSTORABLE, 50 times as fast
        raise ValidationError("email_content", "has a NUL or a lone surrogate")
    return text
