"""The colors of tokens.css are readable in light and dark mode (WCAG 2.2, 1.4.3 and 1.4.11)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

TOKENS = Path(__file__).resolve().parents[2] / "web" / "static" / "tokens.css"
TEXT, SHAPE = 4.5, 3.0  # the least contrast of text, and of the edges of fields and of what shows a status
GROUNDS = ("bg", "surface", "well")
STATUSES = ("good", "warn", "bad", "info", "calm")
PAIRS: dict[tuple[str, str], float] = {
    **{(ink, ground): TEXT for ink in ("text", "text-2", "text-3", "link") for ground in GROUNDS},
    **{(status, ground): TEXT for status in STATUSES for ground in ("surface", "bg", f"{status}-soft")},
    **{("text", f"{status}-soft"): TEXT for status in (*STATUSES, "brand")},
    **{("link", f"{status}-soft"): TEXT for status in ("warn", "bad", "brand")},
    **{("on-brand", ground): TEXT for ground in ("brand", "brand-hover", "danger", "danger-hover")},
    **{("on-brand", ground): TEXT for ground in ("toast", "toast-button")},
    **{(edge, ground): SHAPE for edge in ("field", "focus", "brand") for ground in ("surface", "bg")},
    **{(f"code-{ink}", "code-bg"): TEXT for ink in ("text", "dim", "key", "string", "number")},
    **{(f"code-{ink}", "code-bar"): TEXT for ink in ("text", "dim")},
}


def colors(css: str) -> dict[str, str]:
    """Return the tokens that are opaque colors, by name."""
    return dict(re.findall(r"--([\w-]+):\s*#([0-9a-f]{6})\b", css))


def tokens() -> dict[str, dict[str, str]]:
    """Return the colors of each theme. The dark one changes some of the light ones."""
    light, _, dark = re.sub(r"/\*.*?\*/", "", TOKENS.read_text(), flags=re.DOTALL).partition(
        "prefers-color-scheme: dark"
    )
    return {"light": colors(light), "dark": colors(light) | colors(dark)}


def luminance(color: str) -> float:
    """Return the relative luminance, as WCAG defines it."""
    channels = (int(color[start : start + 2], 16) / 255 for start in (0, 2, 4))
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_black_on_white_has_the_most_contrast() -> None:
    assert contrast("000000", "ffffff") == pytest.approx(21)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_pair_of_colors_has_enough_contrast(theme: str) -> None:
    of_theme = tokens()[theme]
    ratios = {pair: contrast(of_theme[pair[0]], of_theme[pair[1]]) for pair in PAIRS}
    assert {pair: round(ratio, 2) for pair, ratio in ratios.items() if ratio < PAIRS[pair]} == {}


def test_the_themes_differ() -> None:
    assert tokens()["light"]["bg"] != tokens()["dark"]["bg"]
