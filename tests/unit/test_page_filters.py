"""How the pages format values."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from email_app import create_app
from monitoring.humanize import duration, file_size, pluralize
from settings import Settings
from web.pages import filters

MOMENT = datetime(2026, 11, 25, 1, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("moment", "html"),
    [
        (MOMENT, '<time datetime="2026-11-25T09:00:00+08:00">Wed 25 Nov 2026 09:00 +08:00</time>'),
        (
            MOMENT + timedelta(seconds=5),
            '<time datetime="2026-11-25T09:00:05+08:00">Wed 25 Nov 2026 09:00:05 +08:00</time>',
        ),
    ],
)
def test_a_time_is_in_the_services_zone_and_says_its_offset(settings: Settings, moment: datetime, html: str) -> None:
    with create_app(settings).app_context():
        assert filters.format_datetime(moment) == html


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3_600, "1 h"),
        (3_661, "1 h 1 min"),
        (44_400, "12 h 20 min"),
        (timedelta(days=1, hours=10, minutes=36), "1 d 10 h 36 min"),
        (86_400_000, "1,000 d"),
    ],
)
def test_a_length_of_time_is_exact(seconds: float | timedelta, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (40, "40 s"),
        (61, "1 min"),
        (3_599, "59 min"),
        (3_661, "1 h 1 min"),
        (44_430, "12 h 20 min"),
        (86_400, "24 h"),
        (110_000, "31 h"),
        (172_800, "2 days"),
        (8 * 86_400 - 60, "8 days"),
        (62_000_000, "718 days"),
        (86_400_000, "3 years"),
    ],
)
def test_a_relative_time_is_as_precise_as_people_are(seconds: int, text: str) -> None:
    assert filters.rough(seconds) == text


def test_a_relative_time_says_on_which_side_of_now_it_is(settings: Settings) -> None:
    now = datetime.now(UTC)
    with create_app(settings).app_context():
        assert filters.relative_time(now + timedelta(hours=12, minutes=20, seconds=30)).striptags() == "in 12 h 20 min"
        assert filters.relative_time(now - timedelta(days=2, seconds=30)).striptags() == "2 days ago"
        assert filters.relative_time(now).striptags() == "now"


def test_a_short_time_names_the_day_and_has_the_full_time_as_its_tooltip(settings: Settings) -> None:
    zone = settings.timezone
    noon = datetime.now(zone).replace(hour=12, minute=5, second=0, microsecond=0)
    with create_app(settings).app_context():
        near = [filters.short_time(noon + timedelta(days=days)).striptags() for days in (-1, 0, 1)]
        assert near == ["Yesterday 12:05", "Today 12:05", "Tomorrow 12:05"]
        assert filters.short_time(noon, inside=True).striptags() == "today 12:05"
        far = filters.short_time(datetime(2019, 12, 31, 16, 30, tzinfo=UTC))
        assert far == (
            '<time data-short="" datetime="2020-01-01T00:30:00+08:00" title="Wed 1 Jan 2020 00:30 +08:00">'
            "1 Jan 2020, 00:30</time>"
        )


def test_a_short_time_of_this_year_has_its_weekday(settings: Settings) -> None:
    zone = settings.timezone
    now = datetime.now(zone)
    month = 7 if now.month < 4 else 1  # far from today
    moment = datetime(now.year, month, 5, 10, tzinfo=zone)
    with create_app(settings).app_context():
        assert filters.short_time(moment).striptags() == f"{moment:%a} 5 {moment:%b}, 10:00"


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("Asia/Singapore", r"Singapore \(UTC\+8\)"),
        ("Asia/Kolkata", r"Kolkata \(UTC\+5:30\)"),
        ("America/New_York", r"New York \(UTC-[45]\)"),
        ("Africa/Abidjan", r"Abidjan \(UTC\)"),
        ("UTC", "UTC"),
    ],
)
def test_the_zone_is_a_city_with_its_offset(settings: Settings, name: str, pattern: str) -> None:
    with create_app(settings._replace(zone_name=name)).app_context():
        assert re.fullmatch(pattern, filters.zone_words())


def test_a_number_comes_with_its_noun() -> None:
    assert [pluralize(n, "recipient") for n in (0, 1, 1_450)] == [
        "0 recipients",
        "1 recipient",
        "1,450 recipients",
    ]
    assert pluralize(2, "delivery", "deliveries") == "2 deliveries"


@pytest.mark.parametrize(
    ("octets", "text"),
    [(10_000_000, "10 MB"), (1_500_000, "1.5 MB"), (20_000, "20 kB"), (10**9, "1 GB"), (1, "1 byte")],
)
def test_a_size_has_the_unit_of_the_settings(octets: int, text: str) -> None:
    assert file_size(octets) == text
