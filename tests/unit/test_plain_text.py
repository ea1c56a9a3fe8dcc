"""delivery/message/plain_text.py: what is read where HTML is not shown."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.message.plain_text import plain_text
from tests.support.properties import AT_ANY_SPEED

MARKUP = ["<", ">", "</", "/>", "<!--", "-->", "<a ", "</a>", "href=", '"', "'", "=", " ", "<li>", "<ol>", "</ol>"]
MARKUP += ["<pre>", "</pre>", "<td>", "<br>", "<p>", "<script>", "</script>", "&amp;", "&#x", "&", "x", "\n", "<!["]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("Hello  \n world", "Hello world"),
        ("<p>one</p>\n<p>two<br>three</p>", "one\n\ntwo\nthree"),
        ("<p>one<br><br><br>two</p>", "one\n\ntwo"),
        ("<h1>Title</h1>text<div>line</div><div>line</div>", "Title\n\ntext\nline\nline"),
        ("a<b>b</b> <i> c</i>d", "ab cd"),
        ("&lt;b&gt; &amp;amp; &copy; &#8364; &nbsp;x", "<b> &amp; © €  x"),
        ("1 < 2 and 3 > 2 <3", "1 < 2 and 3 > 2 <3"),
        ("a<hr>b", "a\n\n--------------------\n\nb"),
        ("<img src=x alt='A &quot;picture&quot;'> <img src=y>", 'A "picture"'),
        ("<blockquote>said<blockquote>asked</blockquote></blockquote>no", "> said\n\n> > asked\n\nno"),
        ("<p title='a>b' class=\"<p>\">x</p>", "x"),
        ("<P>x</P><BR/><Div>y</dIV>", "x\n\ny"),
    ],
)
def test_text_and_paragraphs(html: str, text: str) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("&#" + "0" * 5_000 + "65;b", "Ab"),
        ("&#" + "0" * 5_000 + "65b", "Ab"),
        ("&#x" + "0" * 5_000 + "41;", "A"),
        ("&#X" + "0" * 7 + "41;", "A"),
        ("&#" + "0" * 5_000 + ";", "\ufffd"),
        ("&#" + "9" * 5_000 + ";", "\ufffd"),
        ("&#x" + "f" * 5_000, "\ufffd"),
        ("&#00000038;amp;", "&amp;"),
    ],
    ids=lambda text: text[:12],
)
def test_a_character_reference_may_have_thousands_of_digits(reference: str, text: str) -> None:
    assert plain_text(reference) == text
    assert plain_text(f"<img alt='{reference}'>") in (text, reference)


@pytest.mark.parametrize(
    "html",
    [
        "<head><title>Title</title><style>p { color: red }</style></head>seen",
        "<script>if (a < b) alert('<p>')</script>seen",
        "<SCRIPT src=x>document.write('</scripty>')</Script >seen",
        "<!-- <p>hidden</p> -->seen<!-- never closed <p>hidden",
        "<!DOCTYPE html><?xml version='1.0'?><![if !mso]>seen<![endif]>",
        "<!-->seen<!--->",
        "seen<script>never closed",
        "seen<p class='never closed>hidden",
        "</>seen</ p>",
    ],
)
def test_what_no_browser_shows_is_dropped(html: str) -> None:
    assert plain_text(html) == "seen"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<a href='https://example.com/a'>here</a>, or", "here <https://example.com/a>, or"),
        ("<a href=https://example.com>https://example.com</a>", "https://example.com"),
        ("<a href='https://x/?a=1&amp;b=2&copy=3'>x</a>", "x <https://x/?a=1&b=2&copy=3>"),
        ("<a title='href=no' data-href=no HREF = \"https://x\">x</a>", "x <https://x>"),
        ("<a href='mailto:ann@example.org'>ann@example.org</a>", "ann@example.org"),
        ("<a href='mailto:ann@example.org'>write</a>", "write <ann@example.org>"),
        ("<a href='https://x'><img src=y></a>", "<https://x>"),
        ("<a href='https://x'><div>one</div></a>", "one\n<https://x>"),
        ("<a href='https://x\n/y'>one<a href='https://z'>two", "one <https://x/y>two <https://z>"),
        ("<a href='#top'>a</a> <a href='javascript:x'>b</a> <a>c</a>", "a b c"),
    ],
)
def test_links_keep_their_target(html: str, text: str) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<ul><li>one<li>two</ul>after", "- one\n- two\n\nafter"),
        ("<ol><li><p>one</p></li><li>two</li></ol>", "1. one\n\n2. two"),
        ("<ul><li>one<ol><li>first</li><li>second</li></ol></li><li>two</li></ul>",
         "- one\n  1. first\n  2. second\n- two"),
        ("<ul><li>one<br>more</li></ul>", "- one\n  more"),
        ("<li>alone", "- alone"),
        ("</ul></ol></blockquote></li>x", "x"),
        ("<table><tr><th>Name<th>Price<tr><td> Tea </td>\n<td>3</td></tr></table>", "Name | Price\nTea | 3"),
        ("<table><tr><td></td><td><table><tr><td>in</td></tr></table></td></tr></table>out", "in\n\nout"),
        ("x<pre>\n a\n   b\n\n c</pre>y", "x\n\n\n a\n   b\n\n c\n\ny"),
    ],
)  # fmt: skip
def test_lists_tables_and_preformatted_text_stay_readable(html: str, text: str) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize(
    "markup",
    ["<", "</", "<!", "<!--", "<a ", "<a x=", '<a x="', "<a x='y' ", "<![x", "<script>", "<style ", "&#x", "<a href=https://x>",
     "<blockquote>x", "<ul><li>x", "</ul>", "<pre>\n", "<td>x", "<br>", "=\"'", "\xa0", "<p>"],
)  # fmt: skip
def test_hostile_markup_takes_time_in_proportion(markup: str) -> None:
    def seconds(length: int) -> float:
        begin = time.process_time()
        plain_text(markup * (length // len(markup)))
        return time.process_time() - begin

    assert seconds(200_000) < 3
    assert len(plain_text(markup * 10_000)) < 40 * len(markup) * 10_000


@settings(AT_ANY_SPEED, derandomize=True, max_examples=200)
@given(st.lists(st.sampled_from(MARKUP)).map("".join) | st.text())
def test_any_markup_gives_text(html: str) -> None:
    text = plain_text(html)
    assert text == text.strip("\n")
    assert text.count("\n") <= 2 * len(html)
