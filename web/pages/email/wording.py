"""The words for emails and deliveries: statuses, one sentence with counts and delay, and a bar of outcomes.

While no mail server is set, messages only reach the outbox, so nothing is called sent or delivered (`in_mode`).
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from flask import has_app_context

from database import DeliveryRow, EmailSummary
from monitoring.humanize import duration
from web.services import current_settings

T = TypeVar("T")

BAR_WIDTH = 600  # SVG units
MIN_WIDTH = 4  # of any outcome that occurs, so that one failure in a million is visible

_WORDS = {
    "queued": "waiting",
    "claimed": "waiting",
    "sending": "sending",
    "sent": "delivered",
    "failed": "failed",
    "unknown": "unconfirmed",
    "cancelled": "cancelled",
}
EMAIL_WORDS = {"held": "on hold"}  # where the word is not the status itself
ATTEMPTS = {"deferred": "delayed", "failed": "failed", "in_doubt": "unconfirmed"}
OUTCOMES = ("sent", "failed", "unknown", "cancelled", "queued")


class Outcome(NamedTuple):
    """The number of deliveries with an outcome, and their place in the bar."""

    status: str
    word: str
    number: int
    percent: str
    x: float
    width: float


def in_mode(with_server: T, with_outbox: T) -> T:
    """Return the first text, or the second while no mail server is set."""
    return with_outbox if has_app_context() and current_settings().email_url.path else with_server


def delivery_words() -> dict[str, str]:
    """Return the word for each status of a delivery.

    `delivered` means delivered to the mail server. Whether a message reached the mailbox is not known.
    """
    return in_mode(_WORDS, _WORDS | {"sent": "in the outbox"})


def status_words(email: EmailSummary) -> str:
    """Return the status of an email in words. It is not plain `sent` if someone did not receive it."""
    if email.status != "sent":
        return EMAIL_WORDS.get(email.status, email.status)
    sent = in_mode("sent", "in the outbox")
    faults = _faults(email)
    if not email.sent:
        no_one = in_mode("delivered to no one", "nothing saved")
        return in_mode("not sent to anyone", no_one) if not faults else f"{no_one}: {', '.join(faults)}"
    return sent if not faults else f"{sent}, {', '.join(faults)}"


def result_words(email: EmailSummary) -> str:
    """Return the status for a place that also shows how many messages were delivered: `delivered`, or the faults."""
    if email.status != "sent" or not email.sent:
        return status_words(email)
    return ", ".join(_faults(email)) or in_mode("delivered", "in the outbox")


def _faults(email: EmailSummary) -> list[str]:
    faults = [f"{email.failed:,} failed"] if email.failed else []
    return faults + ([f"{email.unknown:,} unconfirmed"] if email.unknown else [])


def status_class(email: EmailSummary) -> str:
    """Return the CSS class of the status."""
    if email.status != "sent":
        return email.status
    return "failed" if email.failed else "unknown" if email.unknown or not email.sent else "sent"


def counts_sentence(email: EmailSummary) -> str:
    """Return `1,438 delivered 2 s to 33 min 12 s after the due time, 12 failed, 0 waiting.`."""
    parts = [f"{email.sent:,} {in_mode('delivered', 'in the outbox')}{_delay(email)}", f"{email.failed:,} failed"]
    parts += [f"{email.unknown:,} unconfirmed"] if email.unknown else []
    parts += [f"{email.cancelled:,} cancelled"] if email.cancelled else []
    return f"{', '.join([*parts, f'{email.unfinished:,} waiting'])}."


def outcomes(email: EmailSummary) -> list[Outcome]:
    """Return every possible outcome of a delivery, in the order of the bar."""
    numbers = (email.sent, email.failed, email.unknown, email.cancelled, email.unfinished)
    total = max(email.expected, 1)
    words = delivery_words()
    widths = _widths([number / total for number in numbers])
    starts = [sum(widths[:position]) for position in range(len(widths))]
    return [
        Outcome(status, words[status], number, f"{number / total:.1%}", round(x, 1), round(width, 1))
        for status, number, x, width in zip(OUTCOMES, numbers, starts, widths, strict=True)
    ]


def delivery_word(row: DeliveryRow) -> str:
    """Return the status of a delivery in words."""
    return "retrying" if row.status == "queued" and row.attempts else delivery_words()[row.status]


def _delay(email: EmailSummary) -> str:
    if email.lateness is None:
        return ""
    first, last = (duration(max(seconds, 0)) for seconds in email.lateness)
    return f" {first if first == last else f'{first} to {last}'} after the due time"


def _widths(shares: list[float]) -> list[float]:
    widths = [max(share * BAR_WIDTH, MIN_WIDTH) if share else 0.0 for share in shares]
    return [width * BAR_WIDTH / max(sum(widths), 1) for width in widths]
