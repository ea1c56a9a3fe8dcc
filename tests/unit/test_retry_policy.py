from __future__ import annotations

import pytest

from database import Delivery
from sender.retry_policy import Policy, next_state, next_state_after_crash

NOW = 1_800_000_000
DELIVERY = Delivery(7, 1, "p@example.com", attempts=0, attempts_in_doubt=0, queued_at=NOW)
RESEND = Policy(retry_for=86_400, in_doubt="resend")
HOLD = Policy(retry_for=86_400, in_doubt="hold")


@pytest.mark.parametrize(
    ("reply", "missing"),
    [
        ("550 5.1.1 no such user", True),
        ("550 5.1.10 null MX", True),
        ("550 5.4.1 Recipient address rejected: Access denied. AS(201806281) [x.prod.protection.outlook.com]", True),
        ("550 5.4.1 No answer from host", False),
        ("554 5.7.1 <a@b>: Recipient address rejected: Access denied", False),
        ("550 5.7.1 denied", False),
        ("550 no", False),
    ],
)
def test_a_mailbox_is_known_to_be_missing_by_its_enhanced_code_alone(reply: str, missing: bool) -> None:
    assert next_state(DELIVERY, "failed", reply, NOW, RESEND).hard_bounce is missing


def test_a_failure_is_final() -> None:
    settlement = next_state(DELIVERY, "failed", "550 no", NOW, RESEND)
    assert (settlement.status, settlement.next_attempt_at) == ("failed", None)


@pytest.mark.parametrize(("attempts", "minutes"), [(0, 5), (1, 15), (2, 30), (3, 60), (9, 60)])
def test_a_deferred_delivery_is_tried_again_later_and_later(attempts: int, minutes: int) -> None:
    settlement = next_state(DELIVERY._replace(attempts=attempts), "deferred", "450", NOW, RESEND)
    assert settlement.status == "queued"
    assert settlement.next_attempt_at is not None
    assert abs(settlement.next_attempt_at - NOW - minutes * 60) <= minutes * 60 * 0.2 + 1


def test_equal_deferrals_are_spread() -> None:
    times = {next_state(DELIVERY, "deferred", "450", NOW, RESEND).next_attempt_at for _ in range(50)}
    assert len(times) > 10


def test_the_last_attempt_is_at_the_end_of_the_time_for_retries() -> None:
    last = next_state(DELIVERY._replace(attempts=9), "deferred", "450", NOW + 86_399, RESEND)
    assert last.next_attempt_at == NOW + 86_400
    assert next_state(DELIVERY, "deferred", "450", NOW + 86_400, RESEND).status == "failed"


def test_the_first_doubt_is_resent_and_the_second_is_left_to_a_person() -> None:
    assert next_state(DELIVERY, "in_doubt", "lost", NOW, RESEND).status == "queued"
    assert next_state(DELIVERY._replace(attempts_in_doubt=1), "in_doubt", "lost", NOW, RESEND).status == "unknown"


def test_with_hold_every_doubt_is_left_to_a_person() -> None:
    assert next_state(DELIVERY, "in_doubt", "lost", NOW, HOLD).status == "unknown"
    assert next_state_after_crash(DELIVERY, NOW, HOLD).status == "unknown"


def test_what_a_dead_sender_left_in_doubt_is_sent_at_once() -> None:
    assert next_state_after_crash(DELIVERY, NOW, RESEND).next_attempt_at == NOW


def test_a_reply_is_kept_as_one_short_line() -> None:
    reply = next_state(DELIVERY, "failed", "550 no\r\nERROR forged\x1b[2J" + "x" * 1000, NOW, RESEND).reply
    assert reply.startswith(r"550 no\r\nERROR forged\x1b[2J")
    assert len(reply) == 500
