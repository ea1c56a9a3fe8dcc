"""Split HTML into tokens as a browser does (HTML standard, "Tokenization").

The tokenizer of the standard library takes 70 s for 60 kB of `<a ` (CVE-2025-6069), raises AssertionError for `<![x`,
and differs between Python versions. A parser that builds a tree is no better: in HTML5, a few kilobytes can grow into a
tree of gigabytes. Here each token is matched without backtracking, and anything unclosed extends to the end of the
text.
"""

from __future__ import annotations

import re
from html import unescape

from delivery.lazy_pattern import LazyPattern

_END = r"(?: > | \Z )"
_ATTRIBUTES = r"""(?: [^>=]++ | =\s*+ (?: "[^"]*+(?:"|\Z) | '[^']*+(?:'|\Z) )?+ )*+"""  # a quoted > does not end a tag
TOKEN = LazyPattern(
    rf"""
      (?P<text> [^<]++ | <(?![a-zA-Z/!?]) )
    | <!-- (?: -?> | (?s:.*?) (?: --!?> | \Z ) )
    | <(?: [!?] | /(?![a-zA-Z]) ) [^>]*+ {_END}
    | <(?P<unseen> iframe | noembed | noframes | script | style | template | title )(?=[\s/>]) {_ATTRIBUTES} {_END}
      (?s:.*?) (?: </(?P=unseen)(?=[\s/>]) [^>]*+ {_END} | \Z )
    | <(?P<verbatim> textarea | xmp | plaintext )(?=[\s/>]) (?P<of_verbatim>{_ATTRIBUTES}) {_END}
      (?P<content> (?s:.*?) ) (?: </(?P=verbatim)(?<!plaintext)(?=[\s/>]) [^>]*+ {_END} | \Z )
    | <(?P<slash>/?)(?P<tag>[a-zA-Z][^\s/>]*+) (?P<attributes>{_ATTRIBUTES}) {_END}
    """,
    re.VERBOSE | re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"""([^\s/=]++)(?:\s*+=\s*+("[^"]*+"?|'[^']*+'?|\S++)?)?""")
_REFERENCE = re.compile(r"&(?:#[0-9]+|#[xX][0-9a-fA-F]+|[a-zA-Z][a-zA-Z0-9]*);")
_LONG_REFERENCE = re.compile(r"&#(?:([xX])([0-9a-fA-F]{8,})|([0-9]{8,}));?")


def attribute(attributes: str, wanted: str) -> str | None:
    """Return the value of an attribute, or None if there is no such attribute.

    Only character references that end with a semicolon are resolved, so `?a=1&copy=2` stays unchanged.
    """
    if wanted not in attributes.lower():
        return None
    for name, value in _ATTRIBUTE.findall(attributes):
        if name.lower() == wanted:
            return _REFERENCE.sub(lambda reference: unescaped(reference.group()), _unquoted(value))
    return None


def unescaped(text: str) -> str:
    """Resolve character references. `html.unescape` alone raises ValueError for a reference with 4,301 digits."""
    if "&" not in text:
        return text
    if "&#" in text:
        text = _LONG_REFERENCE.sub(_shortened, text)
    return unescape(text)


def unclosed_at(html: str) -> int:
    """Return where an unclosed comment, tag or raw-text element begins, or the length of the text if there is none."""
    start = 0
    for token in TOKEN.finditer(html):
        start = token.start()
    last = TOKEN.match(html[start:] + "\n")  # anything unclosed swallows the newline
    swallows = last is not None and last["text"] is None and last.end() > len(html) - start
    return start if swallows else len(html)


def _unquoted(value: str) -> str:
    return value.strip(value[0]) if value[:1] in ('"', "'") else value


def _shortened(reference: re.Match[str]) -> str:
    """Return the reference without leading zeros, or a reference to U+FFFD if no such character exists."""
    digits = (reference[2] or reference[3]).lstrip("0") or "0"
    return f"&#{reference[1] or ''}{digits};" if len(digits) < 8 else "&#xFFFD;"
