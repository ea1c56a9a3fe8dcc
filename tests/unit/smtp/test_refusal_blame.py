"""Whether a refusal is about the recipient or the server, for the replies of real servers."""

from __future__ import annotations

import pytest

from delivery.smtp.blame import Blame, find_blame
from delivery.smtp.command import Step
from delivery.smtp.reply import Reply, ReplyParser
from tests.support.samples.refusals import BLAMING_THE_RECIPIENT, BLAMING_US, TOO_MANY_CONNECTIONS


def blame(step: str, text: str) -> Blame:
    return find_blame(Step[step], parse(text), "ada@example.com")


def parse(text: str) -> Reply:
    (reply,) = ReplyParser().feed(text.encode() + b"\r\n")
    return reply


@pytest.mark.parametrize(("step", "text"), BLAMING_US)
def test_a_refusal_of_the_account_the_domain_or_the_server_is_recognised(step: str, text: str) -> None:
    assert blame(step, text) is Blame.SESSION


@pytest.mark.parametrize(("step", "text"), BLAMING_THE_RECIPIENT)
def test_a_refusal_of_one_recipient_or_message_does_not_blame_the_account(step: str, text: str) -> None:
    assert blame(step, text) not in (Blame.SESSION, Blame.CONNECTIONS)


@pytest.mark.parametrize(("step", "text"), TOO_MANY_CONNECTIONS)
def test_too_many_connections_are_recognised(step: str, text: str) -> None:
    assert blame(step, text) is Blame.CONNECTIONS


@pytest.mark.parametrize(
    "text",
    [
        "550 5.1.1 no",
        "550 5.1.10 null MX",
        "550 5.4.1 Recipient address rejected: Access denied. AS(201806281)",
        "550 <ada@example.com>: (#5.1.1) no",
        "550 No such user here",
        "552 5.2.2 full",
        "550 user over quota",
    ],
)
def test_a_mailbox_that_is_missing_or_full_is_named(text: str) -> None:
    assert blame("RCPT", text) is Blame.RECIPIENT


def test_what_varies_in_a_refusal_changes_nothing() -> None:
    for address in ("blocked@example.com", "spf@relay.example", "sending.quota@example.com"):
        reply = parse(f"550 5.7.1 <{address}>: refused [192.0.2.7] at mx-dkim.blacklisted.example.net")
        assert find_blame(Step.RCPT, reply, address) is Blame.UNCLEAR


@pytest.mark.parametrize(
    "text", ["552 5.2.2 daily quota of this user exceeded", "552 5.2.2 Quota exceeded, 1 GB per month"]
)
def test_the_code_of_a_full_mailbox_is_overruled_only_by_words_about_sending(text: str) -> None:
    assert blame("RCPT", text) is Blame.RECIPIENT
