"""Superscripts, subscripts and struck-out text, where dropping the markup would change the meaning."""

from __future__ import annotations

_SUPERSCRIPTS = dict(zip("0123456789+-\u2212=()n", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻⁼⁽⁾ⁿ", strict=True))
_SUBSCRIPTS = dict(zip("0123456789+-\u2212=()", "₀₁₂₃₄₅₆₇₈₉₊₋₋₌₍₎", strict=True))
_ORDINALS_TAGS = "st nd rd th e er re ère eme ème me o a os as º ª"
_ORDINALS = frozenset(_ORDINALS_TAGS.split())


def marked_script(tag: str, before: str, text: str) -> list[str]:
    """Return the text of a `sup` or `sub` element that follows `before`, in pieces: as `³`, `^(1/2)` or unchanged."""
    content = text.strip()
    blank = " " if text.endswith((" ", "\xa0")) and content else ""
    if not content or not _changes_number(before, content):
        return [text] if text else []
    letters = _SUPERSCRIPTS if tag == "sup" else _SUBSCRIPTS
    if all(map(letters.__contains__, content)):
        return ["".join(map(letters.__getitem__, content)) + blank]
    mark = "^" if tag == "sup" else "_"
    return [f"{mark}{content}{blank}" if content.isalnum() else f"{mark}({content}){blank}"]


def struck_out(text: str) -> list[str]:
    """Return struck-out text between `~~`, in pieces."""
    content = text.strip()
    if not content:
        return [text] if text else []
    start = text.index(content)
    return list(filter(None, (text[:start], f"~~{content}~~", text[start + len(content) :])))


def _changes_number(before: str, content: str) -> bool:
    """Return whether the text would be read as part of the number before it, or contains digits itself."""
    if any(map(str.isdigit, content)):
        return True
    return before[-1:].isdigit() and content[0].isalnum() and content.lower() not in _ORDINALS
