"""delivery/message/header.py: all kinds of subjects and names arrive unchanged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.errors import MessageError
from tests.support.properties import AT_ANY_SPEED
from tests.support.rendering import header_lines, message, parsed, rendered, sender_of

SUBJECTS = [
    "",
    "Hello",
    "Grüße 你好 😀",
    "你好" * 2_500,
    "a" * 3_000,
    "word " * 300 + "end",
    "100 % of %s, %d, %(x)s, {0.__class__}, {{7*7}}",
    "A =?UTF-8?Q?=0A?=Bcc: injected@example.com",
    "=?utf-8?b?Cg==?=",
    "=?",
    "?= =? =??= ?==?",
    " two  spaces ",
    "  ",
    "e\u0301 cafe\u0301 \u202egnp.exe \u200b\ufeff\xa0",
    "😀" * 500,
    "From: someone@example.com",
]
MIME_FIELDS = {"MIME-Version", "Content-Type", "Content-Transfer-Encoding"}
OUR_FIELDS = {"X-Email-Delivery", "X-Event-Id"}
FIELDS = {"Date", "To", "Message-ID", "From", "Subject", "Auto-Submitted"} | OUR_FIELDS | MIME_FIELDS


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda text: ascii(text)[:30])
def test_the_subject_arrives_as_it_was_in_short_lines(subject: str) -> None:
    octets, _ = rendered(message(subject))
    email = parsed(octets)
    assert email["Subject"] == subject
    assert not email["Bcc"]
    assert max(map(len, header_lines(octets))) <= 78
    assert not any(line.strip() == b"" for line in header_lines(octets))


@settings(AT_ANY_SPEED, derandomize=True, max_examples=75)
@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])) | st.text(st.sampled_from("=?_ Qb8é")))
def test_any_subject_and_name_arrive_as_they_were(text: str) -> None:
    name = " ".join(text.split())
    octets, _ = rendered(message(text, sender_name=name))
    email = parsed(octets)
    assert set(email) == FIELDS
    assert email["Subject"] == text
    assert sender_of(octets) == (name, "no-reply@example.com")


@pytest.mark.parametrize("what", ["subject", "sender_name", "reply_to", "reply_to_name", "sender_address"])
@pytest.mark.parametrize(
    "bad", ["a\n", "a\r\nBcc: b@example.com", "\0", "\x0b", "\x0c", "\t", "\x7f", "\x85", "\u2028", "\ud800"]
)
def test_a_control_character_in_a_header_is_refused(what: str, bad: str) -> None:
    with pytest.raises(MessageError):
        text = f"x{bad}@example.com"
        values = {"reply_to": {"reply_to": ("", text)}, "reply_to_name": {"reply_to": (text, "a@example.com")}}
        message(**values.get(what, {what: text}))


@pytest.mark.parametrize(
    ("name", "field"),
    [
        ("", b"From: no-reply@example.com"),
        ("Email endpoint", b"From: Email endpoint <no-reply@example.com>"),
        ("Smith, J. (x) <y>", b'From: "Smith, J. (x) <y>" <no-reply@example.com>'),
        ('a "b" \\c', b'From: "a \\"b\\" \\\\c" <no-reply@example.com>'),
        ("Jörg", b"From: =?UTF-8?B?SsO2cmc=?= <no-reply@example.com>"),
        ("=?utf-8?q?=0A?=", b"From: =?UTF-8?B?PT91dGYtOD9xPz0wQT89?= <no-reply@example.com>"),
    ],
)
def test_the_senders_name_is_quoted_or_encoded_where_it_must_be(name: str, field: bytes) -> None:
    octets = next(rendered(message(sender_name=name)))
    assert field in header_lines(octets)
    assert parsed(octets)["From"].addresses[0].display_name == name


@pytest.mark.parametrize(
    ("reply_to", "field"),
    [
        (("", "help@example.com"), b"Reply-To: help@example.com"),
        (("Help desk", "help@b\xfccher.example"), b"Reply-To: Help desk <help@xn--bcher-kva.example>"),
        (("Help, desk", "help@example.com"), b'Reply-To: "Help, desk" <help@example.com>'),
        (("A <b>", "help@example.com"), b'Reply-To: "A <b>" <help@example.com>'),
    ],
)
def test_reply_to_may_have_a_name(reply_to: tuple[str, str], field: bytes) -> None:
    assert field in header_lines(next(rendered(message(reply_to=reply_to))))
