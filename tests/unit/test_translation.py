"""web/translation.py: every language has every text, and readers get theirs."""

from __future__ import annotations

from datetime import date
from string import Formatter
from typing import Any

import pytest
from markupsafe import Markup

from web.translation import FALLBACK, preferred, translations

LANGUAGES = translations()
ENGLISH = LANGUAGES[FALLBACK]


def placeholders(text: Any) -> set[str]:
    """Return the words in braces."""
    return {name for _, name, _, _ in Formatter().parse(str(text)) if name is not None}


def test_the_promised_languages_exist() -> None:
    assert {each.language for each in LANGUAGES.values()} >= {"en", "zh-Hans", "ms", "de", "fr", "es"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_text_with_the_same_placeholders(language: str) -> None:
    texts = LANGUAGES[language].texts
    assert texts.keys() == ENGLISH.texts.keys()
    assert len(texts["months"]) == 12
    for name, text in texts.items():
        assert placeholders(text) == placeholders(ENGLISH.texts[name]), name
        assert text and "<" not in str(text), name


@pytest.mark.parametrize("language", sorted(LANGUAGES.keys() - {FALLBACK}))
def test_a_language_is_translated(language: str) -> None:
    same = {name for name, text in LANGUAGES[language].texts.items() if text == ENGLISH.texts[name]}
    assert same <= {"date", "comma"}


@pytest.mark.parametrize(
    ("asked", "language"),
    [
        ([], "en"),
        (["de"], "de"),
        (["de-AT", "en"], "de"),
        (["pt-BR", "es-MX", "en"], "es"),
        (["zh-CN"], "zh-Hans"),
        (["ZH_hans_SG"], "zh-Hans"),
        (["ms-MY"], "ms"),
        (["tlh", "*"], "en"),
        (["", "-", "en-GB"], "en"),
    ],
)
def test_the_first_language_that_exists_is_taken(asked: list[str], language: str) -> None:
    assert preferred(asked).language == language


def test_values_are_escaped_and_markup_is_kept() -> None:
    assert ENGLISH("choose", address="<b>") == "Choose what &lt;b&gt; should no longer receive."
    assert ENGLISH("choose", address=Markup("<b>a</b>")) == "Choose what <b>a</b> should no longer receive."


def test_days_and_lists_are_phrases_of_the_language() -> None:
    day = date(2026, 11, 3)
    assert [LANGUAGES[each].day(day) for each in ("en", "de", "es", "zh")] == [
        "3 November 2026",
        "3. November 2026",
        "3 de noviembre de 2026",
        "2026年11月3日",
    ]
    items = [Markup("<i>a</i>"), Markup("b"), Markup("c")]
    assert [ENGLISH.listed(items[:count]) for count in (1, 2, 3)] == [
        "<i>a</i>",
        "<i>a</i> and b",
        "<i>a</i>, b and c",
    ]
