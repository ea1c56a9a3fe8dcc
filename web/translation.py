"""The languages of the pages for recipients: one file in `web/translations/` for each."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from markupsafe import Markup, escape

FOLDER = Path(__file__).resolve().parent / "translations"
FALLBACK = "en"


class Translation(NamedTuple):
    """The texts of one language. `language` is its tag (BCP 47), for the attribute `lang`."""

    language: str
    texts: Mapping[str, Any]

    def __call__(self, name: str, **values: object) -> Markup:
        """Return a text as HTML, with `values` in the place of the words in braces."""
        return escape(self.texts[name]).format(**values)

    def day(self, day: date) -> str:
        """Return a day in words, such as 30 November 2026."""
        return str(self.texts["date"]).format(day=day.day, month=self.texts["months"][day.month - 1], year=day.year)

    def listed(self, items: Sequence[Markup]) -> Markup:
        """Return items as one phrase, such as `a, b and c`."""
        first = escape(self.texts["comma"]).join(items[:-1])
        return escape(self.texts["and"]).join([first, items[-1]] if first else items)


@cache
def translations() -> dict[str, Translation]:
    """Return all translations by the primary part of their tag, such as `zh` for `zh-Hans`."""
    found = (Translation(file.stem, tomllib.loads(file.read_text("utf-8"))) for file in FOLDER.glob("*.toml"))
    return {each.language.partition("-")[0]: each for each in found}


def preferred(languages: Iterable[str]) -> Translation:
    """Return the first of these languages that exists, ignoring its region (`de` for `de-AT`), or English."""
    known = translations()
    primary = (language.lower().replace("_", "-").partition("-")[0] for language in languages)
    return next((known[each] for each in primary if each in known), known[FALLBACK])
