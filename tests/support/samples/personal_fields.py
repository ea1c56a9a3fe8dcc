"""Values of personal fields that have broken other programs, and naive rendering: one ordinary text per recipient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import NamedTuple
from urllib.parse import quote

from hypothesis import strategies as st

from delivery.message.placeholders import UNSAFE
from tests.support.rendering import normalised

NASTY = (
    *(
        "Ada",
        "a",
        ".",
        "..",
        ". ",
        " ",
        "=",
        "=20",
        "==",
        "a=\u20ac",
        "Zoë",
        "李小龍",
        "\U0001f600",
        "x\U0001f468\u200d\U0001f469",
    ),
    *("</script>", "<b>&amp;\"'", "javascript:alert(1)", "{{ other }}", "{{{{", "zqqaaaa", "--=_T0ken_0", "=_T0ken_0"),
    *("=?utf-8?q?=0D=0AX:_y?=", "trailing  ", "  leading", "a" * 1000, "é" * 1000, "\U0001f600" * 1000, "- " * 500),
    *("a" * 75, "a" * 76, "a" * 77, "b" * 997, "b" * 998, "b" * 999, "%s%d%%", "\\1\\g<0>", "null", "0"),
)
VALUES = st.one_of(
    st.sampled_from(NASTY),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40).filter(
        lambda text: not UNSAFE.search(text)
    ),
)
NAMES = ("name", "company", "姓名")
FIELDS = st.fixed_dictionaries(dict.fromkeys(NAMES, VALUES))


class Fragment(NamedTuple):
    """A piece of a template: its source, and what a naive program would put there."""

    source: str
    name: str = ""  # of the placeholder, if it is one
    default: str | None = None
    is_literal: bool = True
    in_url: bool = False

    def naive(self, values: Mapping[str, str], *, html: bool = False) -> str:
        if self.is_literal:
            return self.source.replace("{{{{", "{{")
        value = values.get(self.name) or self.default or ""
        if self.in_url:
            return quote(value, safe="")
        return escape(value) if html else value


def placeholder(name: str, default: str | None = None, *, in_url: bool = False) -> Fragment:
    bar = "" if default is None else f" | {default}"
    return Fragment(f"{{{{ {name}{bar} }}}}", name, default, is_literal=False, in_url=in_url)


def naive(template: Sequence[Fragment], fields: Mapping[str, str], *, html: bool = False) -> str:
    """Fill in the values; line ends are normalised before, as they are when a text is stored in a message."""
    marks = [each.source if each.is_literal else chr(0xF0000 + index) for index, each in enumerate(template)]
    text = normalised("".join(marks)).replace("{{{{", "{{")
    for index, each in enumerate(template):
        if not each.is_literal:
            text = text.replace(chr(0xF0000 + index), each.naive(fields, html=html))
    return text
