"""Decide the state of a delivery after an unsuccessful attempt: failed, unknown, or queued for another attempt."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from database import Delivery, DeliveryUpdate
from intake.text import one_line

BACKOFF_SECONDS = (5 * 60, 15 * 60, 30 * 60, 60 * 60)  # after the first, second, … attempt; the last repeats
JITTER_FRACTION = 0.2
MAX_REPLY_LENGTH = 500  # characters of a server's reply that are stored
# RFC 3463, section 3.2; RFC 7505, section 4.2; and the reply of Microsoft 365 for an unknown mailbox.
NO_SUCH_MAILBOX = re.compile(
    r"5\d\d 5\.(1\.(1|2|3|6|10)\b|4\.1 Recipient address rejected: Access denied)", re.IGNORECASE
)


class Policy(NamedTuple):
    """The settings RETRY_FOR (in seconds) and IN_DOUBT (`resend` or `hold`)."""

    retry_for: int
    in_doubt: str


def next_state(delivery: Delivery, outcome: str, reply: str, at: int, policy: Policy) -> DeliveryUpdate:
    """Return the update for a delivery after an unsuccessful attempt.

    `outcome` is deferred, failed or in_doubt; `at` is when the attempt ended, in seconds since 1970 UTC.
    """
    reply = one_line(reply)[:MAX_REPLY_LENGTH]
    status, next_attempt_at = _next_status(delivery, outcome, at, policy)
    hard_bounce = status == "failed" and NO_SUCH_MAILBOX.match(reply) is not None
    return DeliveryUpdate(
        delivery.event_id, delivery.recipient_id, outcome, status, reply, at, next_attempt_at, hard_bounce
    )


def next_state_after_crash(delivery: Delivery, at: int, policy: Policy) -> DeliveryUpdate:
    """Return the update for a delivery that a dead sender left in doubt. If it is retried, then at once."""
    update = next_state(delivery, "in_doubt", "the sender stopped before the server confirmed the message", at, policy)
    return update._replace(next_attempt_at=at) if update.status == "queued" else update


def _next_status(delivery: Delivery, outcome: str, at: int, policy: Policy) -> tuple[str, int | None]:
    if outcome == "failed":
        return outcome, None
    if outcome == "in_doubt" and (policy.in_doubt == "hold" or delivery.attempts_in_doubt > 0):
        return "unknown", None
    give_up_at = delivery.queued_at + policy.retry_for
    if at >= give_up_at:
        return ("failed" if outcome == "deferred" else "unknown"), None
    return "queued", min(at + _delay(delivery.attempts), give_up_at)


def _delay(attempts: int) -> int:
    delay = BACKOFF_SECONDS[min(attempts, len(BACKOFF_SECONDS) - 1)]
    return round(delay * random.uniform(1 - JITTER_FRACTION, 1 + JITTER_FRACTION))  # noqa: S311  # not a secret
