"""What is said of an email: one sentence with its counts and lateness, and a bar of its outcomes.

While no mail server is set, messages only reach the outbox: then nothing is called sent or accepted (`in_mode`).
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

from flask import has_app_context

from database import DeliveryRow, EmailSummary
from monitoring.humanize import duration, pluralize
from web.services import current_settings

T = TypeVar("T")

BAR_WIDTH = 600  # SVG units
MIN_WIDTH = 4  # of an outcome that there is at all: one failure in a million can be seen

_WORDS = {
    "queued": "waiting",
    "claimed": "taken",
    "sending": "being sent",
    "sent": "accepted",
    "failed": "failed",
    "unknown": "unknown",
    "cancelled": "cancelled",
}
ATTEMPTS = {"deferred": "put off", "failed": "failed", "in_doubt": "in doubt"}
OUTCOMES = ("sent", "failed", "unknown", "cancelled", "queued")


class Outcome(NamedTuple):
    """How many deliveries ended so, and where they stand in the bar."""

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

    A server has accepted what is `sent`: whether it reached a mailbox nobody knows.
    """
    return in_mode(_WORDS, _WORDS | {"sending": "on its way", "sent": "in the outbox"})


def status_words(email: EmailSummary) -> str:
    """The status of an email; never plainly `sent` when somebody did not get it."""
    if email.status != "sent":
        return email.status
    sent = in_mode("sent", "in the outbox")
    faults = [pluralize(email.failed, "failure")] if email.failed else []
    faults += [f"{email.unknown:,} unknown"] if email.unknown else []
    if not email.sent:
        nobody = in_mode("accepted for nobody", "in the outbox for nobody")
        return in_mode("sent to nobody", nobody) if not faults else f"{nobody}: {', '.join(faults)}"
    return sent if not faults else f"{sent} with {' and '.join(faults)}"


def status_class(email: EmailSummary) -> str:
    """What gives the status its colour."""
    if email.status != "sent":
        return email.status
    return "failed" if email.failed else "unknown" if email.unknown or not email.sent else "sent"


def counts_sentence(email: EmailSummary) -> str:
    """1,438 accepted, 12 failed, 0 waiting; first accepted 2 s after its time, last after 33 min 12 s."""
    parts = [f"{email.sent:,} {in_mode('accepted', 'in the outbox')}", f"{email.failed:,} failed"]
    parts += [f"{email.unknown:,} unknown"] if email.unknown else []
    parts += [f"{email.cancelled:,} cancelled"] if email.cancelled else []
    counts = ", ".join([*parts, f"{email.unfinished:,} waiting"])
    return f"{counts}{_lateness(email)}."


def outcomes(email: EmailSummary) -> list[Outcome]:
    """Every outcome that deliveries can have, in the order of the bar."""
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
    """The outcome of a delivery so far."""
    return "retrying" if row.status == "queued" and row.attempts else delivery_words()[row.status]


def _lateness(email: EmailSummary) -> str:
    if email.lateness is None:
        return ""
    first, last = (duration(max(seconds, 0)) for seconds in email.lateness)
    accepted = in_mode("accepted", "saved")
    if email.sent == 1:
        return f"; {accepted} {first} after its time"
    return f"; first {accepted} {first} after its time, last after {last}"


def _widths(shares: list[float]) -> list[float]:
    widths = [max(share * BAR_WIDTH, MIN_WIDTH) if share else 0.0 for share in shares]
    return [width * BAR_WIDTH / max(sum(widths), 1) for width in widths]
