"""The optional fields of an email: what is accepted, what is refused, and what belongs together."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import pytest

from database import EVERYONE, Audience, Email
from intake.email_options import (
    FORM_NAMES,
    JSON_NAMES,
    Options,
    clean_from_name,
    clean_reply_to,
    form_options,
    with_options,
)
from intake.errors import ValidationError
from intake.list_names import clean_list_name
from settings.parse import mailbox

EMAIL = Email(1, "S", "C", datetime(2030, 1, 2, tzinfo=UTC))
LISTS, NOT_LISTS, TO = "email_list", "email_exclude_list", "email_to"


def email_of(form: Mapping[str, Sequence[str]], default_audience: str = "everyone") -> Email:
    return with_options(EMAIL, form_options(form, single_label=False), FORM_NAMES, default_audience)


def error_of(form: Mapping[str, Sequence[str]], default_audience: str = "everyone") -> str:
    with pytest.raises(ValidationError) as caught:
        email_of(form, default_audience)
    return str(caught.value)


def test_an_email_without_options_is_for_everyone() -> None:
    assert email_of({}) == EMAIL and EMAIL.audience == EVERYONE


@pytest.mark.parametrize(
    ("form", "audience"),
    [
        ({"email_audience": ["everyone"]}, EVERYONE),
        ({LISTS: ["gala-2026"]}, Audience(("gala-2026",))),
        ({LISTS: ["b", "a", "B", "a"]}, Audience(("b", "a"))),
        ({LISTS: ["Straße", "STRASSE", "cafe\u0301", "CAFÉ"]}, Audience(("Straße", "cafe\u0301"))),
        ({LISTS: ["a"], NOT_LISTS: ["b", "c"]}, Audience(("a",), ("b", "c"))),
        ({NOT_LISTS: ["staff"]}, Audience((), ("staff",))),
        ({NOT_LISTS: ["staff"], "email_audience": ["everyone"]}, Audience((), ("staff",))),
    ],
)
def test_the_audience_is_what_the_fields_say(form: Mapping[str, Sequence[str]], audience: Audience) -> None:
    assert email_of(form).audience == audience


def test_named_addresses_are_cleaned_and_each_counts_once() -> None:
    audience = email_of({TO: ["Ada@Example.com", "ada@example.com", "grace@münchen.de"]}).audience
    assert [address.text for address in audience.to] == ["Ada@example.com", "grace@xn--mnchen-3ya.de"]
    assert audience.lists == audience.exclude_lists == ()


@pytest.mark.parametrize(
    ("form", "error"),
    [
        ({"email_audience": ["all"]}, 'email_audience must be "everyone"'),
        ({"email_audience": ["everyone", "everyone"]}, "email_audience appears more than once"),
        ({"email_audience": ["everyone"], LISTS: ["a"]}, "email_list cannot be combined with email_audience=everyone"),
        ({TO: ["a@example.com"], LISTS: ["a"]}, "email_to cannot be combined with email_list"),
        ({TO: ["a@example.com"], NOT_LISTS: ["a"]}, "email_to cannot be combined with email_exclude_list"),
        ({TO: ["a@example.com"], "email_audience": ["everyone"]}, "email_to cannot be combined with email_audience"),
        ({LISTS: ["Staff", "a"], NOT_LISTS: ["staff"]}, 'email_exclude_list "Staff" is also in email_list'),
        ({LISTS: ["a"] * 101}, "email_list appears 101 times (limit: 100)"),
        ({NOT_LISTS: ["a"] * 101}, "email_exclude_list appears 101 times (limit: 100)"),
        ({TO: ["a@example.com"] * 51}, "email_to appears 51 times (limit: 50; the JSON API takes 1,000)"),
        ({LISTS: ["a", ""]}, "email_list is empty; leave the field out, or give it a value"),
        ({NOT_LISTS: [""]}, "email_exclude_list is empty"),
        ({TO: [""]}, "email_to is empty"),
        ({LISTS: ["a,b"]}, 'email_list "a,b" contains a comma or semicolon; name each list separately'),
        ({LISTS: [" a"]}, 'email_list " a" begins or ends with a space'),
        ({LISTS: ["a" * 101]}, "is too long (limit: 100 characters)"),
        ({LISTS: ["a\r\nb"]}, r'email_list "a\r\nb" contains an invisible character, U+000D'),
        ({TO: ["ada"]}, 'email_to "ada" is not valid'),
        ({TO: ["a@example.com", "a@example.com, b@example.com"]}, 'email_to "a@example.com, b@example.com" is not'),
        ({"email_recipients_max": ["0"]}, "email_recipients_max must be a whole number of at least 1"),
        ({"email_recipients_max": ["1", "2"]}, "email_recipients_max appears more than once"),
        ({"email_reply_to": ["ada"]}, "email_reply_to is not valid"),
        ({"email_from_name": [" "]}, "email_from_name is blank"),
        ({"email_from_name": [""]}, "email_from_name is empty"),
        ({"email_personal": ["true"]}, 'email_personal must be "yes" or "no"'),
    ],
)
def test_an_error_names_the_field_and_the_reason(form: Mapping[str, Sequence[str]], error: str) -> None:
    assert error in error_of(form)


@pytest.mark.parametrize("text", ["-1", "+1", "1.5", "1e3", "1_000", "1,000", " 1", "١", "", "x", "9" * 19, "9" * 5000])
def test_the_largest_audience_is_a_whole_number(text: str) -> None:
    assert "email_recipients_max " in error_of({"email_recipients_max": [text]})


def test_the_other_options_are_taken() -> None:
    form = {
        "email_recipients_max": ["1500"],
        "email_reply_to": ["Box Office <tickets@example.com>"],
        "email_from_name": ["Gala 2026 🎉"],
        "email_personal": ["yes"],
    }
    email = email_of(form)
    assert (email.recipients_max, email.reply_to) == (1500, "Box Office <tickets@example.com>")
    assert (email.from_name, email.personal) == ("Gala 2026 🎉", True)
    assert not email_of({"email_personal": ["no"]}).personal


def test_an_audience_can_be_required() -> None:
    error = error_of({"email_from_name": ["x"]}, "required")
    assert error.startswith("email_audience is missing") and "email_list, email_to" in error
    assert error_of({}, "required") == error
    for form in ({"email_audience": ["everyone"]}, {LISTS: ["a"]}, {NOT_LISTS: ["a"]}, {TO: ["a@example.com"]}):
        email_of(form, "required")


def test_the_json_api_names_its_own_fields() -> None:
    with pytest.raises(ValidationError, match=r"^lists cannot be combined with audience=everyone$"):
        with_options(EMAIL, Options("everyone", ["a"]), JSON_NAMES, "everyone")


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("ada@example.com", "ada@example.com"),
        ("<ada@example.com>", "ada@example.com"),
        ("Ada <ada@example.com>", "Ada <ada@example.com>"),
        ('"Ada" <ada@example.com>', "Ada <ada@example.com>"),
        ('"Lovelace, Ada" <Ada@Example.COM>', '"Lovelace, Ada" <Ada@example.com>'),
        ("Größe 日本 <ada@münchen.de>", "Größe 日本 <ada@xn--mnchen-3ya.de>"),
        ("root@localhost", "root@localhost"),
        (" ada@example.com ", "ada@example.com"),
    ],
)
def test_replies_go_to_a_mailbox_with_or_without_a_name(text: str, stored: str) -> None:
    assert clean_reply_to(text) == stored
    assert clean_reply_to(stored) == stored and mailbox(stored).address in stored


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "ada",
            "ada@",
            "@example.com",
            "a@example.com, b@example.com",
            "Ada <ada@example.com",
            "<>",
            "a b@c.d",
        ),
        *("Ada ada@example.com>", "Ada <ada@example.com> x", "Ada <a@example.com> <b@example.com>", "jörg@example.com"),
        *(
            "a@example.com\r\nBcc: b@example.com",
            "A\nB <a@example.com>",
            "A\0 <a@example.com>",
            "\ud800 <a@example.com>",
        ),
        *("=?utf-8?q?=0a?= <a@example.com>", "x" * 201 + " <a@example.com>", "<" * 100_000, '"' * 100_000),
        *('"a b"@example.com', "a@[192.0.2.1]", 'A "B" <a@example.com>', "mailto:a@example.com", "a@example..com"),
    ],
)
def test_what_is_not_one_mailbox_is_refused(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ValidationError):
        clean_reply_to(text)
    assert time.process_time() - start < 1


@pytest.mark.parametrize("text", ["Gala", 'The "best", really', "Größe 日本 😀", "x" * 200, "a@b.c", "=?utf-8?q?a?="])
def test_a_display_name_is_taken_as_it_is(text: str) -> None:
    assert clean_from_name(text) == text


@pytest.mark.parametrize(
    "text", ["", " ", "a\r\nBcc: b@example.com", "a\nb", "a\0", "\ud800", "\u2028", "x" * 201, "=?utf-8?b?Cg==?="]
)
def test_a_display_name_that_fits_into_no_header_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match=r"^from_name "):
        clean_from_name(text)


@pytest.mark.parametrize(
    "name", ["gala-2026", "Gala 2026", "x" * 100, "Größe/日本 😀 👩‍💻", "50 % & more?", '"q" \'', "می‌خواهم", "..."]
)
def test_names_that_a_list_may_have(name: str) -> None:
    assert clean_list_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            " ",
            "a ",
            "\u00a0a",
            "a\n",
            "a\0b",
            "a\tb",
            "a;b",
            "a,b",
            "x" * 101,
            "a\u202eb",
            "\u200b",
            "a\u200bb",
            ".",
        ),
        *("..", "\ud800", "a\u2028b", "\ufeffa", "a\x7fb", "a\u00adb", "\ue000"),
    ],
)
def test_names_that_no_list_may_have(name: str) -> None:
    with pytest.raises(ValidationError, match=r"^name "):
        clean_list_name(name)


def test_no_form_breaks_the_check() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    choice = random.Random(seed).choice
    for _ in range(3_000):
        values = ["".join(choice('aB<>",;@. \r\n\0é\u202e=?9') for _ in range(8)) for _ in range(3)]
        form = {choice(FORM_NAMES): values[: choice([1, 1, 2, 3])] for _ in range(3)}
        try:
            email = email_of(form)
        except ValidationError as error:
            assert error.field in FORM_NAMES and str(error).isprintable()
        else:
            assert not any("\n" in text or "\r" in text for text in (email.reply_to or "", email.from_name or ""))
