"""What one attempt makes of a delivery: sent, failed, unknown, or in line again for later."""

from __future__ import annotations

import random
import re
from typing import NamedTuple

from database import Delivery, DeliveryUpdate
from sender.task_log import one_line

BACKOFF = (5 * 60, 15 * 60, 30 * 60, 60 * 60)  # seconds after the first, second, … attempt; then the last of them
JITTER = 0.2
LONGEST_REPLY = 500  # characters kept of what a server said
NO_MAILBOX = re.compile(r"5\d\d 5\.1\.(1|2|3|6|10)\b")  # RFC 3463 section 3.2, RFC 7505 section 4.2


class Policy(NamedTuple):
    """What the operator decided: RETRY_FOR in seconds, and IN_DOUBT."""

    retry_for: int
    in_doubt: str


def settle(delivery: Delivery, outcome: str, reply: str, at: int, policy: Policy) -> DeliveryUpdate:
    """What this outcome of an attempt that ended at `at`, and did not succeed, makes of the delivery."""
    reply = one_line(reply)[:LONGEST_REPLY]
    status, next_attempt_at = _next_state(delivery, outcome, at, policy)
    no_mailbox = status == "failed" and NO_MAILBOX.match(reply) is not None
    return DeliveryUpdate(
        delivery.event_id, delivery.recipient_id, outcome, status, reply, at, next_attempt_at, no_mailbox
    )


def settle_abandoned(delivery: Delivery, at: int, policy: Policy) -> DeliveryUpdate:
    """What becomes of a delivery whose sender died while the message ended: if it may be sent again, then now."""
    update = settle(delivery, "in_doubt", "the sender died while it ended the message", at, policy)
    return update._replace(next_attempt_at=at) if update.status == "queued" else update


def _next_state(delivery: Delivery, outcome: str, at: int, policy: Policy) -> tuple[str, int | None]:
    if outcome == "failed":
        return outcome, None
    if outcome == "in_doubt" and (policy.in_doubt == "hold" or delivery.doubts > 0):
        return "unknown", None
    give_up_at = delivery.queued_at + policy.retry_for
    if at >= give_up_at:
        return ("failed" if outcome == "deferred" else "unknown"), None
    return "queued", min(at + _delay(delivery.attempts), give_up_at)


def _delay(attempts: int) -> int:
    delay = BACKOFF[min(attempts, len(BACKOFF) - 1)]
    return round(delay * random.uniform(1 - JITTER, 1 + JITTER))  # noqa: S311  # not a secret
