"""HTML -> plain text, for mail programs that do not show HTML.

It has its own tokenizer. The one in the standard library takes 70 s for 60 kB of `<a ` (CVE-2025-6069), raises
AssertionError for `<![x`, and differs between Python versions. This one is linear: each token is matched without
backtracking, and anything that is never closed extends to the end of the text, as in a browser.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape

_END = r"(?: > | \Z )"
_ATTRIBUTES = r"""(?: [^>=]++ | =\s*+ (?: "[^"]*+(?:"|\Z) | '[^']*+(?:'|\Z) )?+ )*+"""  # a quoted > ends no tag
TOKEN = re.compile(
    rf"""
      (?P<text> [^<]++ | <(?![a-zA-Z/!?]) )
    | <!-- (?s:.*?) (?: (?<=--)> | \Z )
    | <(?: [!?] | /(?![a-zA-Z]) ) [^>]*+ {_END}
    | <(?P<unseen> iframe | noembed | noframes | script | style | template | title )(?=[\s/>]) {_ATTRIBUTES} {_END}
      (?s:.*?) (?: </(?P=unseen)(?=[\s/>]) [^>]*+ {_END} | \Z )
    | <(?P<slash>/?)(?P<tag>[a-zA-Z][^\s/>]*+) (?P<attributes>{_ATTRIBUTES}) {_END}
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"""([^\s/=]++)(?:\s*+=\s*+("[^"]*+"?|'[^']*+'?|\S++)?)?""")
_REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*);")
_LONG_REFERENCE = re.compile(r"&#(?:([xX])([0-9a-fA-F]{8,})|([0-9]{8,}));?")
_SPACE = re.compile(r"[ \t\n\r\f]+")
_LINE_END = re.compile(r"\r\n|\r|\n")
_TARGET = re.compile(r"(?:mailto:|tel:|(?=(?:https?|ftp):))(?P<shown>.+)", re.IGNORECASE)

_LISTS = ("ol", "ul")
_PARAGRAPHS = "blockquote dl h1 h2 h3 h4 h5 h6 hr ol p pre table ul"
_LINES = (
    "address article aside body caption center dd details div dt fieldset figcaption figure footer form header"
    " li main nav option section summary tr"
)
_BREAKS = {**dict.fromkeys(_PARAGRAPHS.split(), "paragraph"), **dict.fromkeys(_LINES.split(), "line")}
MAX_INDENTATION_LEVELS = 8  # hostile markup may have a million


def plain_text(html: str) -> str:
    """Return the text of `html` in paragraphs, lists and cells, with the targets of its links."""
    page = _Page()
    for token in TOKEN.finditer(html):
        if text := token["text"]:
            page.write(_unescaped(text))
        elif tag := token["tag"]:
            _follow_tag(page, tag.lower(), token["attributes"], closing=bool(token["slash"]))
    _close_link(page)
    page.end_line()
    return "\n".join(page.lines).strip("\n")


def _unescaped(text: str) -> str:
    """Resolve character references. Python's `unescape` alone raises ValueError for one of 4,301 digits."""
    if "&#" in text:
        text = _LONG_REFERENCE.sub(_shortened, text)
    return unescape(text)


def _shortened(reference: re.Match[str]) -> str:
    """Return the same reference without leading zeros, or that of U+FFFD if there is no such character."""
    digits = (reference[2] or reference[3]).lstrip("0") or "0"
    return f"&#{reference[1] or ''}{digits};" if len(digits) < 8 else "&#xFFFD;"


class _Level:
    """An open list or quotation."""

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.items = 0

    @property
    def indentation(self) -> str:
        return "> " if self.tag == "blockquote" else "  "

    def next_marker(self) -> str:
        self.items += 1
        return f"{self.items}. " if self.tag == "ol" else "- "


class _Page:
    """The finished lines, and the current one."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.line: list[str] = []  # in pieces
        self.levels: list[_Level] = []
        self.marker = ""  # of a list item that has no line yet
        self.in_next_cell = False
        self.preformatted = False
        self.target = ""  # of the open link
        self.label: list[str] = []  # its text so far, in pieces

    def write(self, text: str) -> None:
        if self.preformatted:
            self._write_preformatted(text)
        elif text := _SPACE.sub(" ", text):
            self.put(text if self.line and not self.line[-1].endswith(" ") else text.lstrip(" "))

    def put(self, piece: str) -> None:
        if not piece:
            return
        if self.in_next_cell and self.line:
            self.line.append("| " if self.line[-1].endswith(" ") else " | ")
        self.in_next_cell = False
        self.line.append(piece)
        if self.target:
            self.label.append(piece)

    def end_line(self) -> None:
        line = "".join(self.line).replace("\xa0", " ")
        if line := line.rstrip() if self.preformatted else line.strip():
            self.lines.append(self._indentation() + line)
        self.line = []
        self.in_next_cell = False

    def end_paragraph(self) -> None:
        self.end_line()
        if self.lines and self.lines[-1] and not self.marker:
            self.lines.append("")

    def _write_preformatted(self, text: str) -> None:
        *whole, last = _LINE_END.split(text)
        for line in whole:
            self.put(line)
            self.lines.append((self._indentation() + "".join(self.line)).rstrip())
            self.line = []
        self.put(last)

    def _indentation(self) -> str:
        marker, self.marker = self.marker, ""
        outer = self.levels[: min(MAX_INDENTATION_LEVELS, len(self.levels) - bool(marker and self.levels))]
        return "".join(level.indentation for level in outer) + marker


def _follow_tag(page: _Page, tag: str, attributes: str, *, closing: bool) -> None:
    """Apply a tag: first its line or paragraph break, then everything else it does."""
    nested_list = tag in _LISTS and len(page.levels) > closing
    if (kind := _BREAKS.get(tag)) == "paragraph" and not nested_list:
        page.end_paragraph()
    elif kind:
        page.end_line()
    if closing and tag in _CLOSING:
        _CLOSING[tag](page)
    elif not closing and tag in _OPENING:
        _OPENING[tag](page, attributes)


def _open_level(tag: str) -> Callable[[_Page, str], None]:
    return lambda page, _: page.levels.append(_Level(tag))


def _close_level(tag: str) -> Callable[[_Page], None]:
    def close(page: _Page) -> None:
        if page.levels and page.levels[-1].tag == tag:
            page.levels.pop()

    return close


def _item(page: _Page, _: str) -> None:
    page.marker = page.levels[-1].next_marker() if page.levels else "- "


def _break(page: _Page, _: str) -> None:
    if page.line:
        page.end_line()
    else:
        page.end_paragraph()


def _rule(page: _Page, _: str) -> None:
    page.put("-" * 20)
    page.end_paragraph()


def _cell(page: _Page, _: str) -> None:
    page.in_next_cell = True


def _image(page: _Page, attributes: str) -> None:
    page.write(_attribute(attributes, "alt"))


def _open_link(page: _Page, attributes: str) -> None:
    """Keep the target only if it means something outside a browser."""
    _close_link(page)
    if target := _TARGET.fullmatch(_SPACE.sub("", _attribute(attributes, "href"))):
        page.target = target["shown"]


def _close_link(page: _Page) -> None:
    """Write the target after the link's text, unless they are equal."""
    label, target = "".join(page.label).strip(), page.target
    page.label, page.target = [], ""
    if target and target != label:
        page.put(f" <{target}>" if page.line and not page.line[-1].endswith(" ") else f"<{target}>")


def _preformatted(on: bool) -> Callable[..., None]:
    def switch(page: _Page, _: str = "") -> None:
        page.preformatted = on

    return switch


def _attribute(attributes: str, attribute: str) -> str:
    """Return the value of an attribute. Character references need their semicolon: `?a=1&copy=2` is unchanged."""
    for name, value in _ATTRIBUTE.findall(attributes):
        if name.lower() == attribute:
            return _REFERENCE.sub(lambda reference: _unescaped(reference.group()), value.strip("\"'"))
    return ""


_OPENING: dict[str, Callable[[_Page, str], None]] = {
    "a": _open_link,
    "blockquote": _open_level("blockquote"),
    "br": _break,
    "hr": _rule,
    "img": _image,
    "li": _item,
    "ol": _open_level("ol"),
    "pre": _preformatted(True),
    "td": _cell,
    "th": _cell,
    "ul": _open_level("ul"),
}
_CLOSING: dict[str, Callable[[_Page], None]] = {
    "a": _close_link,
    "blockquote": _close_level("blockquote"),
    "ol": _close_level("ol"),
    "pre": _preformatted(False),
    "ul": _close_level("ul"),
}
