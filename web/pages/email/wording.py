"""The words for emails and deliveries: statuses, counts, and the delay.

While no mail server is set, messages only reach the outbox, so nothing is called sent or delivered (`in_mode`).
"""

from __future__ import annotations

from typing import TypeVar

from flask import has_app_context

from database import DeliveryRow, EmailSummary
from monitoring.humanize import duration
from web.services import current_settings

T = TypeVar("T")

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


def counts(email: EmailSummary) -> list[tuple[str, str, str, int]]:
    """Return (status, tone, word, number) for each outcome that occurs. The first is always there."""
    words = delivery_words()
    numbers = (
        ("sent", "good", email.sent),
        ("failed", "bad", email.failed),
        ("unknown", "warn", email.unknown),
        ("cancelled", "wait", email.cancelled),
        ("queued", "wait", email.unfinished),
    )
    return [(status, tone, words[status], number) for status, tone, number in numbers if number or status == "sent"]


def percent(email: EmailSummary) -> str:
    """Return the share of the messages that were delivered; while it is being sent, of those with an outcome.

    It is 100% only if that is exact.
    """
    number = email.expected - email.unfinished if email.status == "sending" else email.sent
    share = number / max(email.expected, 1)
    if email.status == "sending" or share in (0, 1):
        return f"{int(share * 100)}%"
    return f"{min(max(share, 0.001), 0.999):.1%}"


def delivery_word(row: DeliveryRow) -> str:
    """Return the status of a delivery in words."""
    return "retrying" if row.status == "queued" and row.attempts else delivery_words()[row.status]


def lateness_words(email: EmailSummary) -> tuple[str, str] | None:
    """Return how long after the due time the first and the last message were delivered, or None before the first."""
    if email.lateness is None:
        return None
    first, last = (duration(max(seconds, 0)) for seconds in email.lateness)
    return first, last
