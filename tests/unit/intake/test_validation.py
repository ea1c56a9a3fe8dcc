"""Validation of fields: accepted and refused values, and no other exception."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from intake.address import clean_address
from intake.email_fields import (
    SUBJECT_LIMIT,
    clean_content,
    clean_email,
    clean_event_id,
    clean_local_time,
    clean_subject,
    clean_timestamp,
)
from intake.errors import BadEventId, BadTimestamp, MissingFields, RepeatedTime, SkippedTime, ValidationError
from intake.fields import Fields, InvalidFields, choice, number
from tests.support.samples import invalid_values

SINGAPORE = ZoneInfo("Asia/Singapore")
NEW_YORK = ZoneInfo("America/New_York")
FIELDS = {"event_id": "7", "email_subject": "S", "email_content": "C", "timestamp": "2030-01-02 08:00:00"}


def test_an_email_is_made_of_its_four_fields() -> None:
    email = clean_email(FIELDS | {"more": "ignored"}, SINGAPORE)
    assert (email.event_id, email.subject, email.content) == (7, "S", "C")
    assert email.due_at == datetime(2030, 1, 2, tzinfo=UTC)


def test_missing_and_empty_fields_are_named_in_order() -> None:
    with pytest.raises(MissingFields) as caught:
        clean_email({"timestamp": "", "email_subject": "S"}, SINGAPORE)
    assert str(caught.value) == "Missing fields: event_id, email_content, timestamp"


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        ("007", 7),
        ("0" * 39 + "7", 7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
    ],
)
def test_event_ids_that_are_accepted(text: str, number: int) -> None:
    assert clean_event_id(text) == number


@pytest.mark.parametrize("text", invalid_values.EVENT_IDS, ids=invalid_values.short)
def test_event_ids_that_are_refused(text: str) -> None:
    with pytest.raises(BadEventId):
        clean_event_id(text)


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2030-01-02 08:00:00", "2030-01-02 00:00:00"),
        ("2024-02-29 07:59:59", "2024-02-28 23:59:59"),
        ("9999-12-31 23:59:59", "9999-12-31 15:59:59"),
        ("2000-01-01 00:00:00", "1999-12-31 16:00:00"),
    ],
)
def test_a_timestamp_is_on_the_clocks_of_the_zone(text: str, utc: str) -> None:
    assert clean_timestamp(text, SINGAPORE) == datetime.fromisoformat(utc).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", invalid_values.TIMESTAMPS, ids=invalid_values.short)
def test_timestamps_that_are_refused(text: str) -> None:
    with pytest.raises(BadTimestamp):
        clean_timestamp(text, SINGAPORE)


def test_a_time_past_the_end_of_the_calendar_in_utc_is_refused() -> None:
    with pytest.raises(BadTimestamp):
        clean_timestamp("9999-12-31 23:59:59", NEW_YORK)


def test_a_time_that_the_clocks_skip_is_refused() -> None:
    with pytest.raises(BadTimestamp):
        clean_timestamp("2026-03-08 02:30:00", NEW_YORK)
    with pytest.raises(BadTimestamp):
        clean_timestamp("1981-12-31 23:45:00", SINGAPORE)  # the half hour that it skipped when it moved to UTC+8


def test_of_a_time_that_the_clocks_show_twice_the_first_is_meant() -> None:
    instant = clean_timestamp("2026-11-01 01:30:00", NEW_YORK)
    assert instant == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2030-01-02T08:00", "2030-01-02T08:00:00", "2030-01-02 08:00", "2030-01-02 08:00:00"])
def test_a_time_that_a_browser_sends_is_read_with_or_without_seconds(text: str) -> None:
    assert clean_local_time(text, SINGAPORE) == datetime(2030, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["", "T", "2030-01-02", "2030-01-02T08", "2030-01-02T8:00", "2030-02-30T08:00", "+12030-01-02T08:00", "x" * 16],
)
def test_what_is_not_a_time_from_a_browser_is_refused(text: str) -> None:
    with pytest.raises(BadTimestamp):
        clean_local_time(text, SINGAPORE)


def test_of_a_time_that_comes_twice_a_person_has_to_say_which() -> None:
    first, second = datetime(2026, 11, 1, 5, 30, tzinfo=UTC), datetime(2026, 11, 1, 6, 30, tzinfo=UTC)
    for offset in ("", "00", "+08:00", "-04:0"):
        with pytest.raises(RepeatedTime) as caught:
            clean_local_time("2026-11-01T01:30", NEW_YORK, offset)
        assert caught.value.readings == (first, second)
    assert clean_local_time("2026-11-01T01:30", NEW_YORK, "-04:00") == first
    assert clean_local_time("2026-11-01T01:30", NEW_YORK, "-05:00") == second
    assert clean_local_time("2026-12-01T01:30", NEW_YORK, "-04:00").hour == 6  # it occurs once, so no error


def test_the_error_about_a_time_that_never_comes_says_why() -> None:
    with pytest.raises(SkippedTime, match="Bad timestamp") as caught:
        clean_local_time("2026-03-08T02:30", NEW_YORK, "-04:00")
    assert "go forward" in caught.value.message


@pytest.mark.parametrize("host", [None, "America/New_York", "Asia/Shanghai", "Pacific/Kiritimati"])
def test_the_zone_of_the_host_changes_nothing(host: str | None) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    numbers = random.Random(seed)
    texts = ["2026-03-08 02:30:00", "2026-11-01 01:30:00", "1991-04-14 00:30:00"]
    texts += [str(datetime.fromtimestamp(numbers.randrange(2**29, 2**33), UTC))[:19] for _ in range(200)]
    program = (
        "import sys, zoneinfo; from intake.email_fields import clean_timestamp as clean\n"
        "for line in sys.stdin: print(clean(line[:19], zoneinfo.ZoneInfo('Asia/Singapore')).timestamp())"
    )
    environment = {key: value for key, value in os.environ.items() if key != "TZ"} | ({"TZ": host} if host else {})
    answer = subprocess.run(
        [sys.executable, "-c", program],
        input="\n".join(texts),
        text=True,
        capture_output=True,
        check=True,
        env=environment,
        cwd=Path(__file__).parents[3],
    )
    eight_hours = 8 * 3600
    expected = [datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() - eight_hours for text in texts]
    assert [float(line) for line in answer.stdout.split()] == expected


@pytest.mark.parametrize(
    "text",
    [
        *("Hello", " ", "Größe 😀 日本語", "{{7*7}} %s {0.__class__}", "\u202eRTL", "x" * SUBJECT_LIMIT),
        *("100% =?", "=?UTF-8?Q?Gr=C3=BC=C3=9Fe?=", "=?ISO-2022-JP?B?GyRCRnxLXBsoQg==?=", "=?nonsense?Q?x?="),
    ],
)
def test_subjects_that_are_accepted(text: str) -> None:
    assert clean_subject(text) == text


@pytest.mark.parametrize("text", invalid_values.SUBJECTS, ids=invalid_values.short)
def test_subjects_that_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match=r"^email_subject "):
        clean_subject(text)


def test_content_may_have_anything_but_nul_and_lone_surrogates() -> None:
    everything = "".join(map(chr, range(1, 0xD800))) + "😀\u2028\r\n\n\r"
    assert clean_content(everything) == everything
    for bad in ("a\0", "\ud83d", "\udc00\ud83d"):
        with pytest.raises(ValidationError, match=r"^email_content "):
            clean_content(bad)


@pytest.mark.parametrize(
    ("text", "sendable"),
    [
        ("Jane.Doe+list@Example.COM", "Jane.Doe+list@example.com"),
        ("=+-@example.com", "=+-@example.com"),
        ("x" * 64 + "@example.com", "x" * 64 + "@example.com"),
        ("a@münchen.de", "a@xn--mnchen-3ya.de"),
        ("a@XN--MNCHEN-3YA.de", "a@xn--mnchen-3ya.de"),
        ("a@straße.de", "a@xn--strae-oqa.de"),
        ("a@例え。jp", "a@xn--r8jz45g.jp"),
        ("jörg@example.com", "jörg@example.com"),
        ("jo\u0308rg@example.com", "jörg@example.com"),
        ('"a b"@example.com', '"a b"@example.com'),
        ('"a\\"b@c"@example.com', '"a\\"b@c"@example.com'),
        ('"jane"@example.com', "jane@example.com"),
        ("a@[127.0.0.1]", "a@[127.0.0.1]"),
        ("a@[IPv6:::1]", "a@[IPv6:::1]"),
        ("root@localhost", "root@localhost"),
        ("a@mail.corp.local", "a@mail.corp.local"),
        ("a@host.test", "a@host.test"),
    ],
)
def test_addresses_that_are_accepted(text: str, sendable: str) -> None:
    assert clean_address(text).text == sendable
    assert clean_address(sendable) == clean_address(text)


@pytest.mark.parametrize("text", invalid_values.ADDRESSES, ids=invalid_values.short)
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(ValidationError, match=r"^address "):
        clean_address(text)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jane@example.com", "JANE@EXAMPLE.com"),
        ("JÖRG@münchen.de", "jörg@MÜNCHEN.de"),
        ("jörg@example.com", "JO\u0308RG@example.com"),
        ("a@münchen.de", "A@xn--mnchen-3ya.de"),
        ("νίκος@example.com", "ΝΊΚΟΣ@example.com"),
        ('"A b"@example.com', '"a\\ B"@example.com'),
    ],
)
def test_the_same_address_in_another_form_is_the_same_recipient(one: str, other: str) -> None:
    assert clean_address(one).key == clean_address(other).key


@pytest.mark.parametrize(("one", "other"), [("groß@example.com", "gross@example.com"), ("a@ß.de", "a@ss.de")])
def test_two_people_stay_two(one: str, other: str) -> None:
    assert clean_address(one).key != clean_address(other).key


def test_no_address_holds_a_byte_that_could_end_a_command() -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    choice = random.Random(seed).choice
    for _ in range(8_000):
        text = "".join(choice('ab@@..""\\<>()[]:;, \r\n\t\0\x7fäß１\u200b\u3002-') for _ in range(12))
        try:
            address = clean_address(text + choice(["", "@example.com", ".com"]))
        except ValidationError:
            continue
        assert not any(character < " " or character == "\x7f" for character in address.text + address.key)
        assert clean_address(address.text) == address


def test_a_hundred_thousand_addresses_take_no_more_than_a_few_seconds() -> None:
    start = time.process_time()
    for index in range(100_000):
        clean_address(f"user.{index}@host{index % 500}.example.com")
    assert time.process_time() - start < 3


def test_an_event_id_of_millions_of_zeros_is_refused_in_no_time() -> None:
    start = time.process_time()
    with pytest.raises(BadEventId):
        clean_event_id("0" * 50_000 + "x")
    with pytest.raises(BadEventId):
        clean_event_id("0" * 5_000_000)
    assert time.process_time() - start < 1


def test_a_field_that_is_wrong_has_no_value_and_all_errors_come_at_once() -> None:
    fields = Fields({"size": "many", "names": ["a", 5], "day": "3"}, ("size", "names", "day", "after"))
    size, day = fields.take("size", number), fields.take("day", number)
    names = fields.take_each("names", choice("a", "b"), 9, None)
    missing, after = fields.take("missing", number), fields.take_or("after", number, 0)
    assert (day.value, after.value, size.value_or(7)) == (3, 0, 7)
    for use in (fields.check, lambda: size.value, lambda: names.value, lambda: missing.value):
        with pytest.raises(InvalidFields) as caught:
            use()
        assert [error.field for error in caught.value.errors] == ["size", "names[1]", "missing"]
