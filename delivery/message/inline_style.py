"""The effects of an element's attributes on its text: hidden, struck out, numbered in a certain style.

Only what a browser does without a style sheet counts (HTML standard, "Rendering"; CSS 2.2, sections 9.2.4 and 11). Text
that a browser shows is kept, whatever its attributes look like: `mso-hide:all`, for example, hides it only in Outlook.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from delivery.lazy_pattern import LazyPattern
from delivery.message.html_tokens import attribute

MAX_CACHED_LENGTH = 500  # characters of attributes

_COMMENT = LazyPattern(r"/\*(?s:.*?)(?:\*/|\Z)")
_DECLARATION = LazyPattern(
    r"""\s*+([-\w]++)\s*+:((?:"[^"]*+(?:"|\Z)|'[^']*+(?:'|\Z)|\([^)]*+(?:\)|\Z)|[^;"'(])*+)|[^;]++"""
)
_ZERO = LazyPattern(r"[+-]?(?:0+\.?0*|\.0+)(?:e[+-]?[0-9]+)?(?:[a-z]+)?")
_LENGTH = LazyPattern(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?([a-z]+|%)?")
_FONT_SIZE = LazyPattern(r"(?:^|\s)([+-]?[0-9.]+[a-z%]*)(?:\s*/\s*\S+)?\s+\S")
_EMPTY_CLIP = LazyPattern(r"rect\(\s*0[a-z]*\s*[, ]\s*0[a-z]*\s*[, ]\s*0[a-z]*\s*[, ]\s*0[a-z]*\s*\)")
_FAR_AWAY = LazyPattern(r"-[0-9]{4,}(?:\.[0-9]*)?(?:px|pt)|-[0-9]{3,}(?:\.[0-9]*)?(?:em|rem)")

_DISPLAYS_TAGS = (
    "none block inline inline-block flex inline-flex grid inline-grid flow-root contents list-item table "
    "inline-table table-cell table-row table-caption table-column table-column-group table-footer-group "
    "table-header-group table-row-group run-in initial inherit unset revert"
)
_DISPLAYS = frozenset(_DISPLAYS_TAGS.split())
_BOXES_TAGS = "block inline-block flex inline-flex grid inline-grid flow-root list-item"
_BOXES = frozenset(_BOXES_TAGS.split())
_BLOCKS_TAGS = (
    "address article aside blockquote body center dd details dialog dir div dl dt fieldset figcaption figure "
    "footer form h1 h2 h3 h4 h5 h6 header hgroup li main menu nav ol p pre section summary ul"
)
_BLOCKS = frozenset(_BLOCKS_TAGS.split())
_CLIPPING = ("hidden", "clip", "scroll", "auto")
_RELATIVE_UNITS = ("em", "ex", "ch", "%")
_ABSOLUTE_SIZES = ("xx-small", "x-small", "small", "medium", "large", "x-large", "xx-large", "xxx-large", "initial")
_VISIBILITIES = {"hidden": True, "collapse": True, "visible": False, "initial": False}
_STRUCK_OUT = ("del", "s", "strike")
_REPLACED = ("audio", "canvas", "meter", "progress", "video")  # browsers show these instead of the text in them


class Effects(NamedTuple):
    """The effects of one element. None means that the value is inherited from the parent."""

    is_gone: bool = False  # it takes up no space (`display:none`)
    is_unseen: bool = False  # it takes up space, but neither it nor anything in it is visible
    is_invisible: bool | None = None  # it is not visible, but elements in it may be
    is_tiny: bool | None = None  # its font size is 0
    is_struck_out: bool = False
    list_style: str | None = None


_WITHOUT_ATTRIBUTES = {
    **dict.fromkeys(_STRUCK_OUT, Effects(is_struck_out=True)),
    **dict.fromkeys(("datalist", "dialog"), Effects(is_gone=True)),
    **dict.fromkeys(_REPLACED, Effects(is_unseen=True)),
}
HIDING_TAGS = frozenset(_WITHOUT_ATTRIBUTES)  # tags that have effects even without attributes


def effects_of(tag: str, attributes: str) -> Effects | None:
    """Return the effects of an element, or None if it has none."""
    if not attributes:
        return _WITHOUT_ATTRIBUTES.get(tag)
    return _cached(tag, attributes) if len(attributes) <= MAX_CACHED_LENGTH else _effects(tag, attributes)


def _effects(tag: str, attributes: str) -> Effects | None:
    styles = _declarations(attribute(attributes, "style") or "")
    display = styles.get("display", "")
    effects = Effects(
        is_gone=display == "none" or (display in ("", "revert") and _is_hidden(tag, attributes)),
        is_unseen=tag in _REPLACED or _is_unseen(tag, styles),
        is_invisible=_VISIBILITIES.get(styles.get("visibility", "")),
        is_tiny=_is_tiny(tag, attributes, styles),
        is_struck_out=tag in _STRUCK_OUT or "line-through" in _decoration(styles),
        list_style=_list_style(styles),
    )
    return None if effects == Effects() else effects


_cached = lru_cache(maxsize=1024)(_effects)


def _declarations(style: str) -> dict[str, str]:
    """Return the value of each property: the last `!important` one, or else the last one."""
    values: dict[str, str] = {}
    important: dict[str, str] = {}
    for match in _DECLARATION.finditer(_COMMENT.sub(" ", style).lower()):
        if not match[1]:
            continue
        value, mark, _ = match[2].partition("!")
        value = value.strip()
        if match[1] == "display" and value not in _DISPLAYS:
            continue  # browsers ignore unknown values
        (important if mark else values)[match[1]] = value
    return values | important


def _is_hidden(tag: str, attributes: str) -> bool:
    """Return whether the browser's default style sheet hides the element."""
    if attribute(attributes, "hidden") is not None or attribute(attributes, "popover") is not None:
        return True
    return tag == "datalist" or (tag == "dialog" and attribute(attributes, "open") is None)


def _is_unseen(tag: str, styles: dict[str, str]) -> bool:
    if not styles:
        return False
    is_taken_out = styles.get("position") in ("absolute", "fixed")
    return (
        _is_zero(styles.get("opacity", "").removesuffix("%"))
        or styles.get("content-visibility") == "hidden"
        or (is_taken_out and _is_out_of_sight(styles))
        or (_is_box(tag, styles, is_taken_out=is_taken_out) and _is_folded(styles))
    )


def _is_out_of_sight(styles: dict[str, str]) -> bool:
    """Return whether an absolutely positioned element is clipped away, or far outside the page."""
    if _EMPTY_CLIP.fullmatch(styles.get("clip", "")):
        return True
    return any(_FAR_AWAY.fullmatch(styles.get(side, "")) for side in ("left", "top"))


def _is_box(tag: str, styles: dict[str, str], *, is_taken_out: bool) -> bool:
    """Return whether height and overflow apply to the element. They do not for inline elements and table parts."""
    display = styles.get("display")
    if display in _BOXES or is_taken_out or styles.get("float") in ("left", "right"):
        return True
    return tag in _BLOCKS and display is None


def _is_folded(styles: dict[str, str]) -> bool:
    """Return whether the box has no room for its content and does not let it overflow."""
    overflows = styles.get("overflow", "").split()
    vertical = styles.get("overflow-y", overflows[-1] if overflows else "")
    horizontal = styles.get("overflow-x", overflows[0] if overflows else "")
    if any(name.startswith("padding") and not _are_zero(value) for name, value in styles.items()):
        return False
    is_flat = any(_is_zero(styles.get(name, "")) for name in ("max-height", "height"))
    is_narrow = any(_is_zero(styles.get(name, "")) for name in ("max-width", "width"))
    if is_flat and not _is_zero(styles.get("min-height", "0")):
        is_flat = False
    return (is_flat and vertical in _CLIPPING) or (is_narrow and horizontal in _CLIPPING)


def _is_tiny(tag: str, attributes: str, styles: dict[str, str]) -> bool | None:
    size = styles.get("font-size")
    if size is None and (shorthand := _FONT_SIZE.search(styles.get("font", ""))):
        size = shorthand[1]
    if size is None:
        return False if tag == "font" and attribute(attributes, "size") else None
    if _is_zero(size.removesuffix("%")):
        return True
    length = _LENGTH.fullmatch(size)
    if size in _ABSOLUTE_SIZES or (length and length[1] and length[1] not in _RELATIVE_UNITS):
        return False
    return None


def _decoration(styles: dict[str, str]) -> str:
    return styles.get("text-decoration", "") + styles.get("text-decoration-line", "")


def _list_style(styles: dict[str, str]) -> str | None:
    style = styles.get("list-style-type") or styles.get("list-style") or ""
    return next((MARKERS[word] for word in style.split() if word in MARKERS), None)


def _is_zero(value: str) -> bool:
    return bool(_ZERO.fullmatch(value))


def _are_zero(value: str) -> bool:
    return all(map(_is_zero, value.split()))


MARKERS = {
    **dict.fromkeys(("none",), ""),
    **dict.fromkeys(("decimal",), "1"),
    **dict.fromkeys(("lower-alpha", "lower-latin"), "a"),
    **dict.fromkeys(("upper-alpha", "upper-latin"), "A"),
    "lower-roman": "i",
    "upper-roman": "I",
    **dict.fromkeys(("disc", "circle", "square"), "-"),
}
"""Values of `list-style-type` as values of the attribute `type`; also `-` for a bullet and "" for no marker."""
