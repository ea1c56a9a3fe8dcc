"""Turn the fields of a request into clean values, or raise an error that names the invalid field.

The form endpoint, the JSON API, the command line and the pages all use these functions, so the data layer and the
senders only get values that can be stored and sent.
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
SUBJECT_LIMIT = 998  # bytes of UTF-8: the limit of one unfolded header line (RFC 5322 2.1.1)

INTEGER = re.compile(r"([+-]?)0*([0-9]{1,19})")  # 64 bits need at most 19 digits
MAX_INTEGER_LENGTH = 40  # characters; INTEGER is slow on thousands of zeros
TIMESTAMP = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,20}))?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
)
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # including every kind of line break
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL rejects NUL; unpaired surrogates have no UTF-8 encoding
UNSTORABLE_MESSAGE = "contains a NUL or an unpaired surrogate"


def clean_email(fields: Mapping[str, str], zone: ZoneInfo) -> Email:
    """Return the email that the fields describe. An empty field counts as missing. Raises ValidationError."""
    missing = [name for name in FIELDS if not fields.get(name)]
    if missing:
        raise MissingFields(missing)
    event_id = clean_event_id(fields["event_id"])
    due_at = clean_timestamp(fields["timestamp"], zone)
    subject = clean_subject(fields["email_subject"])
    content = clean_content(fields["email_content"])
    return Email(event_id=event_id, subject=subject, content=content, due_at=due_at)


def clean_event_id(text: str) -> int:
    """Return the 64-bit integer: ASCII digits with an optional sign. Raises BadEventId."""
    match = INTEGER.fullmatch(text) if len(text) <= MAX_INTEGER_LENGTH else None
    number = int(match[1] + match[2]) if match else 2**63
    if not -(2**63) <= number < 2**63:
        raise BadEventId
    return number


@lru_cache(maxsize=1024)  # many emails share a few times
def clean_timestamp(text: str, zone: ZoneInfo) -> datetime:
    """Return the instant, in UTC, of a local time `YYYY-MM-DD HH:MM:SS` in `zone`.

    Raises BadTimestamp; SkippedTime if clocks in the zone skip this time. If they show it twice, the first one counts.
    """
    if not TIMESTAMP.fullmatch(text):
        raise BadTimestamp
    try:
        local = datetime.fromisoformat(text).replace(tzinfo=zone)
        instant = local.astimezone(UTC)
        skipped = instant.astimezone(zone).replace(tzinfo=None) != local.replace(tzinfo=None)
    except (ValueError, OverflowError):  # not a date, or its UTC is before year 1 or after 9999
        raise BadTimestamp from None
    if skipped:
        raise SkippedTime
    return instant


def clean_local_time(text: str, zone: ZoneInfo, offset: str = "") -> datetime:
    """Return the instant, in UTC, of a local time in `zone` that a person chose, with or without seconds.

    Like clean_timestamp, but raises RepeatedTime if the time occurs twice, unless `offset` (such as +01:00) decides.
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


@lru_cache(maxsize=1024)  # a thousand emails in one request usually share a few times
def clean_time(text: str, zone: ZoneInfo) -> datetime:
    """Return the instant, in UTC, of an RFC 3339 time. Without an offset, it is a local time in `zone`.

    A fraction of a second is rounded up, so that nothing is early. Leap seconds are refused.
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
    """Return the subject if it fits one header line: no line breaks, not even in encoded words."""
    return clean_header_text("email_subject", text)


def clean_header_text(field: str, text: str) -> str:
    """Return a text if it fits one header line. `field` is its name in the error."""
    if not (text.isascii() and text.isprintable()):  # most are
        _refuse_controls(field, text)
    if len(text.encode()) > SUBJECT_LIMIT:
        raise ValidationError(field, f"is too long (limit: {SUBJECT_LIMIT} bytes)")
    if "=?" in text and CONTROL.search(hidden_text(text)):
        raise ValidationError(field, "contains an encoded word that decodes to a line break or control character")
    return text


def _refuse_controls(field: str, text: str) -> None:
    if UNSTORABLE.search(text):
        raise ValidationError(field, UNSTORABLE_MESSAGE)
    if CONTROL.search(text):
        raise ValidationError(field, "contains a line break or control character")


def clean_content(text: str) -> str:
    """Return the content if it can be stored and sent. Its length is limited by the size of the request."""
    if "\0" in text or (
        not text.isascii() and UNSTORABLE.search(text)
    ):  # same result as UNSTORABLE alone, 50 times as fast
        raise ValidationError("email_content", UNSTORABLE_MESSAGE)
    return text
