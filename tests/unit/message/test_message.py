"""delivery/message/message.py: the header fields, and the parts that all recipients share."""

from __future__ import annotations

import time

import pytest

from delivery.message.message import MailingList, MessageError
from delivery.message.unsubscribe import Links, Tokens
from tests.support.rendering import AT, list_of, message, parsed, rendered

TOKENS = Tokens("s" * 16, "installation")
LINKS = TOKENS.links("https://mail.example.com/app", 7)


def test_all_fields_are_there() -> None:
    email = parsed(next(rendered(message("Hi", unsubscribe=LINKS))))
    assert dict(email) == {
        "Date": "Mon, 24 Nov 2025 16:00:00 +0000",
        "To": "ann@example.org",
        "Message-ID": "<T0ken.5@example.com>",
        "X-Email-Delivery": "T0ken.5",
        "List-Unsubscribe": f"<https://mail.example.com/app/unsubscribe/7/{TOKENS.token(5, 7).decode()}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "From": "Email endpoint <no-reply@example.com>",
        "Subject": "Hi",
        "Auto-Submitted": "auto-generated",
        "MIME-Version": "1.0",
        "X-Event-Id": "7",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": "7bit",
    }


def test_a_retry_has_the_same_message_id_and_a_later_date() -> None:
    email = message()
    first = email.as_bytes("ann@example.org", 5, AT, eight_bit=True)
    again = message().as_bytes("ann@example.org", 5, AT + 3600, eight_bit=False)
    assert parsed(first)["Message-ID"] == parsed(again)["Message-ID"] == email.message_id(5)
    assert parsed(again)["Date"].datetime.timestamp() == int(AT) + 3600


def test_a_delivery_is_known_again_where_a_provider_replaced_its_message_id() -> None:
    first, again = (parsed(message().as_bytes("ann@example.org", 5, AT + later, eight_bit=True)) for later in (0, 600))
    other = parsed(message().as_bytes("bob@example.org", 6, AT, eight_bit=True))
    assert first["X-Email-Delivery"] == again["X-Email-Delivery"] != other["X-Email-Delivery"]


def test_each_recipient_sees_only_itself() -> None:
    email = message()
    both = [
        parsed(email.as_bytes(f"{name}@example.org", number, AT, eight_bit=True))
        for number, name in enumerate(["ann", "bob"])
    ]
    assert [each["To"] for each in both] == ["ann@example.org", "bob@example.org"]
    assert both[0]["Message-ID"] != both[1]["Message-ID"]


def test_the_date_follows_the_clock_both_ways() -> None:
    email = message()
    times = [AT, AT + 0.4, AT + 0.5, AT + 86_400, AT - 1, 0.0, 951_782_400.0]
    dates = [parsed(email.as_bytes("ann@example.org", 5, at, eight_bit=True))["Date"] for at in times]
    assert [date.datetime.timestamp() for date in dates] == [int(at) for at in times]
    assert dates[-2:] == ["Thu, 01 Jan 1970 00:00:00 +0000", "Tue, 29 Feb 2000 00:00:00 +0000"]


@pytest.mark.parametrize(
    "url",
    ["ftp://example.com", "https://a b", "https://a>\r\nBcc: <x", 'https://a"', "https://é", "https://" + "x" * 601],
)
def test_a_link_that_would_mean_something_else_in_a_message_is_refused(url: str) -> None:
    with pytest.raises(MessageError, match="List-Unsubscribe"):
        message(unsubscribe=Links(url, TOKENS.token))


@pytest.mark.parametrize(
    "name",
    ["gala-2026", "Gala 2026", 'The "best" \\ list', "Größe 日本 😀", "x" * 100, "=?utf-8?q?a?=", "a@b (c) <d>"],
)
def test_an_email_to_one_list_names_it_and_its_identifier_does_not_depend_on_the_name(name: str) -> None:
    for octets in rendered(message(mailing_list=MailingList(name, "list-7.0a1b2c3d"))):
        shown, identifier = list_of(octets)
        assert (shown, identifier) == (name, "list-7.0a1b2c3d.example.com")


def test_an_email_to_everyone_has_no_list_id() -> None:
    assert parsed(next(rendered(message())))["List-Id"] is None


@pytest.mark.parametrize("domain", ["[192.0.2.1]", "localhost"])
def test_a_list_of_a_sender_without_a_domain_is_local(domain: str) -> None:
    email = message(sender_address=f"no-reply@{domain}", mailing_list=MailingList("staff", "list-7.0a1b2c3d"))
    assert list_of(next(rendered(email)))[1] == "list-7.0a1b2c3d.localhost"


@pytest.mark.parametrize("name", ["a\r\nBcc: x@example.com", "a\nb", "a\0b", "a\u2028b", "\ud800"])
def test_no_name_adds_a_header(name: str) -> None:
    names = {"mailing_list": MailingList(name, "list-7"), "sender_name": name, "reply_to": (name, "a@example.com")}
    for field, value in names.items():
        with pytest.raises(MessageError, match="not allowed in a header"):
            message(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("event_id", [-(2**63), 0, 2**63 - 1])
def test_the_event_id_is_in_a_header(event_id: int) -> None:
    assert parsed(next(rendered(message(event_id=event_id))))["X-Event-Id"] == str(event_id)


def test_one_click_is_offered_over_https_alone() -> None:
    email = parsed(next(rendered(message(unsubscribe=TOKENS.links("http://intranet", 7)))))
    assert email["List-Unsubscribe"].startswith("<http://intranet/unsubscribe/7/")
    assert not email["List-Unsubscribe-Post"]


@pytest.mark.parametrize("token", ["", "a b", "a>", "a\n", "é", "a.b", "x" * 65])
def test_a_token_that_fits_into_no_message_id_is_refused(token: str) -> None:
    with pytest.raises(MessageError):
        message(token=token)


def test_the_envelope_sender_is_known() -> None:
    email = message(sender_address="no-reply@b\xfccher.example")
    assert (email.event_id, email.sender_address) == (7, "no-reply@xn--bcher-kva.example")
    assert email.message_id(5) == "<T0ken.5@xn--bcher-kva.example>"


@pytest.mark.parametrize("content", ["x\n" * 1000, "é" * 1000, "é" * 999 + "\n", ".\n" * 1000, " \n" * 1000 + "é"])
def test_the_size_is_a_bound_and_not_far_off(content: str) -> None:
    email = message(content=content, unsubscribe=TOKENS.links("https://" + "x" * 492, 7))
    longest = "a" * 64 + "@" + "b" * 255
    octets = email.as_bytes(longest, 2**63 - 1, AT, eight_bit=False)
    assert len(octets) <= email.size <= len(octets) * 1.4 + 3000


def test_a_long_subject_and_a_large_content_take_no_time() -> None:
    begin = time.process_time()
    message("你好" * 50_000, "line of text\n" * 700_000).smtp_data("ann@example.org", 5, AT, eight_bit=False)
    assert time.process_time() - begin < 3
