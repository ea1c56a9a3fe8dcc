"""Find the placeholders in HTML, and decide for each how values are escaped there.

A placeholder can be in text, in some quoted attributes, and in URLs. It cannot be where an escaped value could still
change what the page does: in scripts, style sheets, comments, names of tags and attributes, unquoted attributes, event
handlers and inline styles. In the name of an attribute that is not listed here, it cannot be either.

URLs. A value inside a URL is percent-encoded, so that it stays within its path segment or parameter. A value cannot
choose the scheme: a placeholder may begin a URL only if it is the whole beginning (then the value must be an http,
https or mailto URL), and otherwise the text before it must contain a harmless scheme, `/`, `?` or `#`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from delivery.lazy_pattern import LazyPattern
from delivery.message.html_tokens import TOKEN, unescaped
from delivery.message.placeholders import Context, Template, TemplateParser

URL_ATTRIBUTES = frozenset(
    ("action", "background", "cite", "data", "formaction", "href", "longdesc", "poster", "src", "xlink:href")
)
_TEXT_ATTRIBUTES = frozenset(
    (
        *("abbr", "align", "alt", "bgcolor", "class", "color", "content", "datetime", "dir", "height", "id", "label"),
        *("lang", "name", "placeholder", "summary", "title", "valign", "value", "width"),
    )
)
_SCHEMES = frozenset(("callto", "ftp", "geo", "http", "https", "mailto", "sip", "sms", "tel", "webcal", "xmpp"))

_CONTEXTS = {"mailto": Context.MAILTO, "tel": Context.PHONE, "sms": Context.PHONE}

_ATTRIBUTE = LazyPattern(
    r"""(?P<name>[^\s"'<>/=]++)
        (?: \s*+ = \s*+ (?: "(?P<double>[^"]*+)" | '(?P<single>[^']*+)' | [^\s"'=<>`]++ )? )?""",
    re.VERBOSE,
)
_TITLE = LazyPattern(r"<title\b[^>{]*>", re.IGNORECASE)
_REFERENCE = LazyPattern(r"&[#A-Za-z0-9]*\Z")
_STRIPPED = LazyPattern("[\t\n\r]")
_LEADING = "".join(map(chr, range(0x21)))  # browsers ignore these before a URL


def parse_html(html: str) -> Template:
    """Return the template of HTML. Raises PlaceholderError."""
    return _HtmlParser(html).parse_all()


class _HtmlParser(TemplateParser):
    def parse_all(self) -> Template:
        if "{{" in self.source or "{%" in self.source:
            text_start = 0
            for token in TOKEN.finditer(self.source):
                if token.lastgroup != "text":
                    self._parse_text(text_start, token.start())
                    self._parse_markup(token)
                    text_start = token.end()
            self._parse_text(text_start, len(self.source))
        return self.template()

    def _parse_text(self, start: int, end: int) -> None:
        if start < end:
            self.parse(start, end, self._context_of_text, is_html=True)

    def _parse_markup(self, token: re.Match[str]) -> None:
        start, end = token.span()
        if "{" not in token.group():
            return
        if token["unseen"] is not None:
            self._parse_unseen(token["unseen"].lower(), start, end)
        elif token["verbatim"] is not None:
            content = token.start("content")
            self._parse_attributes(token["verbatim"].lower(), *token.span("of_verbatim"))
            if token["verbatim"].lower() == "textarea":
                self._parse_text(content, token.end("content"))
            else:
                self._refuse(content, end, "inside <xmp>")
        elif token["tag"] is None:
            self._refuse(start, end, "inside a comment or declaration")
        elif "{{" in token["tag"]:
            self._refuse(start, end, "in the name of a tag")
        elif token["slash"]:
            self._refuse(start, end, "inside a closing tag")
        else:
            self._parse_attributes(token["tag"].lower(), *token.span("attributes"))

    def _parse_unseen(self, tag: str, start: int, end: int) -> None:
        title = _TITLE.match(self.source[start:end]) if tag == "title" else None
        if title is None:
            self._refuse(start, end, f"inside <{tag}>")
        else:
            self._parse_text(start + title.end(), end)

    def _parse_attributes(self, tag: str, start: int, end: int) -> None:
        attributes = self.source[start:end]
        if "{" not in attributes:
            return
        reached = start
        names = {match["name"].lower() for match in _ATTRIBUTE.finditer(attributes)}
        for match in _ATTRIBUTE.finditer(attributes):
            kind = "double" if match["double"] is not None else "single" if match["single"] is not None else None
            if kind is None:
                continue
            value_start, value_end = (start + offset for offset in match.span(kind))
            self._refuse(reached, value_start, "outside of a quoted attribute")
            self.parse(value_start, value_end, self._context_of_attribute(tag, match, names, value_start), is_html=True)
            reached = value_end
        self._refuse(reached, end, "outside of a quoted attribute")

    def _context_of_attribute(
        self, tag: str, match: re.Match[str], names: set[str], start: int
    ) -> Callable[[int], Context]:
        name = match["name"].lower()
        if name in URL_ATTRIBUTES:
            found_before = self.count()
            return lambda position: self._context_of_url(start, position, is_first=self.count() == found_before)
        is_text = name in _TEXT_ATTRIBUTES or name.startswith(("aria-", "data-"))
        if not is_text or (name == "content" and "http-equiv" in names):
            return lambda position: self._refused(position, f"in the attribute {name} of <{tag}>")
        return self._context_of_text

    def _context_of_text(self, position: int) -> Context:
        if position and self.source[position - 1] == "<":
            return self._refused(position, "directly after <")
        self._check_reference(position)
        return Context.HTML

    def _context_of_url(self, start: int, position: int, *, is_first: bool) -> Context:
        self._check_reference(position)
        before = _STRIPPED.sub("", unescaped(self.source[start:position])).lstrip(_LEADING)
        if not before:
            return Context.WHOLE_URL
        address, *_ = re.split(r"[/?#]", before, maxsplit=1)
        scheme, colon, _ = address.partition(":")
        if is_first and colon and scheme.lower() not in _SCHEMES:
            return self._refused(position, f"in a URL that begins with {scheme[:20]}:")
        if is_first and not colon and address == before:
            return self._refused(position, "there: a link must begin with https://, http:// or mailto:")
        return _CONTEXTS.get(scheme.lower(), Context.URL)

    def _check_reference(self, position: int) -> None:
        """Refuse a value that would complete a character reference."""
        before = self.source[max(0, position - 40) : position]
        if "&" in before and _REFERENCE.search(before):
            self._refused(position, "directly after &; write &amp; for an ampersand")

    def _refuse(self, start: int, end: int, where: str) -> None:
        """Refuse placeholders in this region. Braces that are written as `{{{{` are allowed."""
        self.parse(start, end, lambda position: self._refused(position, where))

    def _refused(self, position: int, where: str) -> Context:
        raise self.error(position, f"a placeholder cannot be {where}")
