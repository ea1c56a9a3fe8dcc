"""Turn HTML into plain text, for email clients that do not show HTML. Keeps what a browser shows and nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote, urljoin

from delivery.lazy_pattern import LazyPattern
from delivery.message.html_tokens import TOKEN, attribute, unescaped
from delivery.message.inline_style import HIDING_TAGS, Effects, effects_of
from delivery.message.list_numbers import Numbering, lengths_of_reversed_lists
from delivery.message.open_elements import GONE, MAKING_ROOM, VOID, OpenElements, inside
from delivery.message.scripts import marked_script, struck_out

_SPACE = re.compile(r"[ \t\n\r\f]+")
_LINE_END = re.compile(r"\r\n|\r|\n")
_STRIPPED_FROM_URLS = re.compile(r"[\t\n\r]")
_ESCAPED_IN_URLS = str.maketrans({"<": "%3C", ">": "%3E", '"': "%22", "`": "%60"})  # email clients end a link there
_ABSOLUTE = re.compile(r"(?:https?|ftp):", re.IGNORECASE)
_BASE = re.compile("<base", re.IGNORECASE)

# Runs of zero-width characters pad the preview that email clients show after the subject. A single one joins letters.
_ZERO_WIDTH = "\u034f\u180e\u200b-\u200f\u2060\ufeff"
_FILLER = LazyPattern(f"[{_ZERO_WIDTH}][ \u2007\u2002-\u200a]*+(?:[{_ZERO_WIDTH}][ \u2007\u2002-\u200a]*+)++")
_WIDE = LazyPattern("[ \u2007\u2002-\u200a]")
_SPACES = re.compile("  +")
_EDGES = "\u034f\u180e\u200b\u200c\u200d\u200e\u200f\u2060\ufeff \u2007\t\n\r\f\v"

_LISTS = ("ol", "ul", "menu", "dir")
_PARAGRAPHS = "blockquote dir dl h1 h2 h3 h4 h5 h6 hr listing menu ol p pre table ul xmp"
_LINES = (
    "address article aside body caption center dd details dialog div dt fieldset figcaption figure footer form header"
    " legend li main nav optgroup option section summary tr"
)
_BREAKS = {**dict.fromkeys(_PARAGRAPHS.split(), "paragraph"), **dict.fromkeys(_LINES.split(), "line")}
MAX_INDENTATION_LEVELS = 8  # hostile markup may have a million


def plain_text(html: str) -> str:
    """Return the text of `html`, with its paragraphs, lists, table cells and link targets."""
    page = _Page(html)
    for token in TOKEN.finditer(html):
        kind = token.lastgroup
        if kind == "text":
            page.show(unescaped(token.group()))
        elif kind == "attributes":
            slash, tag, attributes = token.group("slash", "tag", "attributes")
            if slash:
                page.close(tag.lower())
            else:
                page.open(tag.lower(), attributes, token.start())
        elif kind == "content":
            page.show_verbatim(token["verbatim"].lower(), token["of_verbatim"], token["content"])
    page.elements.close_all()
    _close_link(page)
    page.end_line()
    return "\n".join(page.lines).strip("\n")


class _Level:
    """An open list or quotation."""

    def __init__(self, tag: str, numbering: Numbering | None = None) -> None:
        self.tag = tag
        self.numbering = numbering

    @property
    def indentation(self) -> str:
        if self.numbering is None:
            return "> "
        return "  " if self.numbering.style else ""


class _Page:
    """The finished lines, and the current one."""

    def __init__(self, html: str) -> None:
        self.lines: list[str] = []
        self.line: list[str] = []  # in pieces
        self.levels: list[_Level] = []
        self.marker = ""  # of a list item that has no line yet
        self.in_next_cell = False
        self.layout_tables: list[bool] = []  # for each open table, whether it is used for layout only
        self.preformatted = 0
        self.target = ""  # of the open link
        self.label: list[str] = []  # its text so far, in pieces
        self.scripts: list[tuple[str, int]] = []  # open `sup` and `sub`, and where each begins in the current line
        self.strikes = 0
        self.struck_from = 0  # where struck-out text begins in the current line
        self.base = _base_of(html) if _BASE.search(html) else ""
        self.lengths = lengths_of_reversed_lists(html)
        self.elements = OpenElements(self._on_close)

    def open(self, tag: str, attributes: str, position: int) -> None:
        """Handle a start tag."""
        elements = self.elements
        if elements.ignores(tag):
            return
        if tag in MAKING_ROOM:
            elements.make_room(tag)
        effects = effects_of(tag, attributes) if attributes or tag in HIDING_TAGS else None
        state = inside(elements.state, effects) if effects else elements.state
        is_there = not state & GONE
        if is_there:
            if tag in _BREAKS:
                self._break(tag, closing=False)
            if tag in _OPENING and (not state or tag not in ("hr", "img")):
                _OPENING[tag](self, attributes, effects, position)
            if effects and effects.is_struck_out:
                self.begin_strike()
        if tag not in VOID:
            elements.open(tag, effects, was_followed=is_there)

    def close(self, tag: str) -> None:
        """Handle an end tag. `</br>` and `</p>` have an effect even if they close no element."""
        if not self.elements.close(tag) and tag in ("br", "p") and not self.elements.state & GONE:
            _line_break(self, "", None, 0) if tag == "br" else self.end_paragraph()

    def show(self, text: str) -> None:
        """Write text if it is visible."""
        if not self.elements.state_of_text():
            self.write(text)

    def show_verbatim(self, tag: str, attributes: str, content: str) -> None:
        """Write the content of an element in which tags are plain text, such as `textarea`."""
        self.open(tag, attributes, 0)
        self.show(unescaped(content) if tag == "textarea" else content)
        self.close(tag)

    def write(self, text: str) -> None:
        if self.preformatted:
            self._write_preformatted(text)
        elif text := _SPACE.sub(" ", text):
            self.put(text if self.line and not self.line[-1].endswith(" ") else text.lstrip(" "))

    def put(self, piece: str) -> None:
        if not piece:
            return
        if self.in_next_cell:
            if not piece.strip(_EDGES + "\xa0"):
                return  # a spacer cell
            if self.line:
                separator = " " if self.layout_tables and self.layout_tables[-1] else " | "
                self.line.append(separator.lstrip() if self.line[-1].endswith(" ") else separator)
            self.in_next_cell = False
        self.line.append(piece)
        if self.target:
            self.label.append(piece)

    def end_line(self) -> None:
        if self.strikes:
            self._strike_out()
        line = _without_fillers("".join(self.line).replace("\xa0", " "))
        if line := line.rstrip() if self.preformatted else line.strip():
            self.lines.append(self._indentation() + line)
        self._begin_line()

    def end_paragraph(self) -> None:
        self.end_line()
        if self.lines and self.lines[-1] and not self.marker:
            self.lines.append("")

    def begin_strike(self) -> None:
        if not self.strikes:
            self.struck_from = len(self.line)
        self.strikes += 1

    def end_strike(self) -> None:
        self.strikes -= 1
        if not self.strikes:
            self._strike_out()

    def _strike_out(self) -> None:
        self.line[self.struck_from :] = struck_out("".join(self.line[self.struck_from :]))
        self.struck_from = len(self.line)

    def _begin_line(self) -> None:
        self.line = []
        self.in_next_cell = False
        self.struck_from = 0
        self.scripts = [(tag, 0) for tag, _ in self.scripts[-MAX_INDENTATION_LEVELS:]] if self.scripts else []

    def _on_close(self, tag: str, effects: Effects | None) -> None:
        if effects and effects.is_struck_out:
            self.end_strike()
        if tag in _BREAKS:
            self._break(tag, closing=True)
        if tag in _CLOSING:
            _CLOSING[tag](self)

    def _break(self, tag: str, *, closing: bool) -> None:
        """End the line or the paragraph at a tag that does so."""
        if _BREAKS[tag] == "paragraph" and not (tag in _LISTS and len(self.levels) > closing):
            self.end_paragraph()
        else:
            self.end_line()

    def _write_preformatted(self, text: str) -> None:
        *whole, last = _LINE_END.split(text)
        for line in whole:
            self.put(line)
            if self.strikes:
                self._strike_out()
            self.lines.append((self._indentation() + "".join(self.line)).rstrip())
            self._begin_line()
        self.put(last)

    def _indentation(self) -> str:
        marker, self.marker = self.marker, ""
        outer = self.levels[: min(MAX_INDENTATION_LEVELS, len(self.levels) - bool(marker and self.levels))]
        return "".join(level.indentation for level in outer) + marker


def _without_fillers(line: str) -> str:
    if line.isascii():
        return line
    filled = _FILLER.sub(lambda run: " " if _WIDE.search(run.group()) else "", line.replace("\xad", ""))
    return line if filled == line and line == line.strip(_EDGES) else _SPACES.sub(" ", filled).strip(_EDGES)


def _open_list(page: _Page, attributes: str, effects: Effects | None, position: int) -> None:
    style = effects.list_style if effects else None
    page.levels.append(_Level("ol", Numbering(attributes, style, page.lengths.get(position))))


def _open_bullets(page: _Page, _: str, effects: Effects | None, _position: int) -> None:
    style = effects.list_style if effects else None
    page.levels.append(_Level("ul", Numbering("", style if style is not None else "-", None)))


def _open_quotation(page: _Page, *_: object) -> None:
    page.levels.append(_Level("blockquote"))


def _close_level(*tags: str) -> Callable[[_Page], None]:
    def close(page: _Page) -> None:
        if page.levels and page.levels[-1].tag in tags:
            page.levels.pop()

    return close


def _item(page: _Page, attributes: str, effects: Effects | None, _: int) -> None:
    numbering = page.levels[-1].numbering if page.levels else None
    page.marker = numbering.next_marker(attributes, effects.list_style if effects else None) if numbering else "- "


def _line_break(page: _Page, *_: object) -> None:
    if page.line:
        page.end_line()
    else:
        page.end_paragraph()


def _rule(page: _Page, *_: object) -> None:
    page.put("-" * 20)
    page.end_paragraph()


def _cell(page: _Page, *_: object) -> None:
    page.in_next_cell = True


def _open_table(page: _Page, attributes: str, *_: object) -> None:
    page.layout_tables.append((attribute(attributes, "role") or "").strip().lower() in ("presentation", "none"))


def _close_table(page: _Page) -> None:
    if page.layout_tables:
        page.layout_tables.pop()


def _image(page: _Page, attributes: str, *_: object) -> None:
    page.write(attribute(attributes, "alt") or "")


def _open_script(tag: str) -> Callable[..., None]:
    return lambda page, *_: page.scripts.append((tag, len(page.line)))


def _close_script(page: _Page) -> None:
    if page.scripts:
        tag, start = page.scripts.pop()
        before = page.line[start - 1] if 0 < start <= len(page.line) else ""
        page.line[start:] = marked_script(tag, before, "".join(page.line[start:]))


def _open_link(page: _Page, attributes: str, *_: object) -> None:
    """Keep the target only if it is useful outside a browser."""
    _close_link(page)
    page.target = _target(attribute(attributes, "href") or "", page.base)


def _close_link(page: _Page) -> None:
    """Write the target after the link's text, unless they are equal."""
    label, target = "".join(page.label).strip(), page.target
    page.label, page.target = [], ""
    ends_well = target[-1:].isalnum() or target.endswith("/")  # email clients leave punctuation out of a bare URL
    if target and (target != label or not ends_well):
        page.put(f" <{target}>" if page.line and not page.line[-1].endswith(" ") else f"<{target}>")


def _target(href: str, base: str) -> str:
    """Return the URL, address or telephone number that a link leads to, or "" if only a browser can open it."""
    url = _STRIPPED_FROM_URLS.sub("", href.strip(" \t\n\r\f")).replace(" ", "%20")
    scheme, _, rest = url.partition(":")
    if scheme.lower() == "mailto":
        return _mail_address(rest)
    if scheme.lower() in ("tel", "sms"):
        return unquote(rest.partition("?")[0])
    if url.startswith("#") or not url:
        return ""
    try:
        url = urljoin(base, url) if base else f"https:{url}" if url.startswith("//") else url
    except ValueError:
        return ""
    return url.translate(_ESCAPED_IN_URLS) if _ABSOLUTE.match(url) else ""


def _mail_address(rest: str) -> str:
    """Return the addresses of a mailto: URL (RFC 6068), without other parameters such as the subject."""
    written, _, parameters = rest.partition("?")
    if not written:
        named = (pair.partition("=") for pair in parameters.split("&"))
        written = next((value for name, _, value in named if name.lower() == "to"), "")
    decoded = unquote(written)
    return decoded if decoded.isprintable() else written


def _base_of(html: str) -> str:
    """Return the base URL for relative links, or "" if the page does not set one."""
    for token in TOKEN.finditer(html):
        if (token["tag"] or "").lower() == "base" and not token["slash"]:
            href = attribute(token["attributes"], "href")
            if href is not None:
                url = _STRIPPED_FROM_URLS.sub("", href.strip(" \t\n\r\f"))
                return f"https:{url}" if url.startswith("//") else url if _ABSOLUTE.match(url) else ""
    return ""


def _begin_preformatted(page: _Page, *_: object) -> None:
    page.preformatted += 1


def _end_preformatted(page: _Page) -> None:
    page.preformatted = max(0, page.preformatted - 1)


_OPENING: dict[str, Callable[[_Page, str, Effects | None, int], None]] = {
    "a": _open_link,
    "blockquote": _open_quotation,
    "br": _line_break,
    "hr": _rule,
    "img": _image,
    "li": _item,
    "ol": _open_list,
    "pre": _begin_preformatted,
    "sub": _open_script("sub"),
    "sup": _open_script("sup"),
    "table": _open_table,
    "td": _cell,
    "textarea": _begin_preformatted,
    "th": _cell,
    **dict.fromkeys(("listing", "xmp"), _begin_preformatted),
    **dict.fromkeys(("dir", "menu", "ul"), _open_bullets),
}
_CLOSING: dict[str, Callable[[_Page], None]] = {
    "a": _close_link,
    "blockquote": _close_level("blockquote"),
    "ol": _close_level("ol"),
    "pre": _end_preformatted,
    "sub": _close_script,
    "sup": _close_script,
    "table": _close_table,
    "textarea": _end_preformatted,
    **dict.fromkeys(("listing", "xmp"), _end_preformatted),
    **dict.fromkeys(("dir", "menu", "ul"), _close_level("ul")),
}
