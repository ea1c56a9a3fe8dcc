"""delivery/message/plain_text.py: the plain-text alternative of HTML content."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.message.plain_text import plain_text
from tests.support.properties import AT_ANY_SPEED

MARKUP = ["<", ">", "</", "/>", "<!--", "-->", "<a ", "</a>", "href=", '"', "'", "=", " ", "<li>", "<ol>", "</ol>"]
MARKUP += [
    "<b hidden>",
    "</b>",
    "<s>",
    "</s>",
    "<sup>",
    "</sup>",
    "<table>",
    "</table>",
    "<div style=display:none>",
    "</div>",
]
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


HIDDEN = [
    "<div hidden>gone</div>",
    "<div hidden=false>gone</div>",
    "<p HIDDEN=until-found>gone</p>",
    "<div popover>gone</div>",
    "<dialog>gone</dialog>",
    "<datalist><option>gone</datalist>",
    "<div style='display:none'>gone</div>",
    "<span style='color:red; DISPLAY : NONE !important; display:block'>gone</span>",
    "<table><tr><td style=display:none>gone</td></table>",
    "<div style='/* ; */display:/**/none;mso-hide:all'>gone<div style='display:block'>gone</div></div>",
    "<div style='display&#58;none'>gone</div>",
    "<div style=\"font-family:'a;b';display:none\">gone</div>",
    "<div style='visibility:hidden'>gone</div>",
    "<div style='visibility:collapse'>gone</div>",
    "<div style='opacity:0'>gone<b style='opacity:1'>gone</b></div>",
    "<div style='opacity:0.00'>gone</div>",
    "<div style='opacity:0%'>gone</div>",
    "<div style='font-size:0'>gone</div>",
    "<div style='font-size:0px;line-height:0'>gone <span style='font-size:2em'>gone</span></div>",
    "<span style='font:0/0 a'>gone</span>",
    "<div style='max-height:0;overflow:hidden'>gone</div>",
    "<div style='max-height:0px;max-width:0px;overflow-y:hidden'>gone</div>",
    "<div style='height:0.0em;overflow:clip'>gone</div>",
    "<span style='display:inline-block;width:0;overflow:hidden'>gone</span>",
    "<p style='overflow:hidden;max-height:0;padding:0 0 0px'>gone</p>",
    "<span style='position:absolute;clip:rect(0 0 0 0)'>gone</span>",
    "<span style='position:absolute;left:-9999px'>gone</span>",
    "<div style='content-visibility:hidden'>gone</div>",
    "<div hidden><p>gone</p><ul><li>gone</ul><table><tr><td>gone</table><pre>gone</pre><hr><img alt=gone><br></div>",
    "<p hidden>gone<p>",
    "<ul><li hidden>gone</ul>",
    "<table><tr><td hidden>gone<tr hidden><td>gone</table>",
    "<p>seen</p><b hidden>gone<p>gone</b>",
    "<p><b hidden>gone</p><p>gone</b>",
    "<div><span hidden>gone</div>",
    "<img hidden alt=gone><hr hidden><br hidden>",
    "<span hidden>gone</i></div>gone</span>",
    "<a href='https://example.com' style='display:none'>gone</a>",
    "<textarea hidden><b></textarea>",
    "<div style='display:none'>Preview&zwnj;&nbsp;&zwnj;&nbsp;</div>",
    "<div>&zwnj;&nbsp;&zwnj;&nbsp;&#847; &#8199; &shy;&#8203;&#65279;</div>",
]


@pytest.mark.parametrize("hidden", HIDDEN)
def test_what_attributes_hide_is_left_out(hidden: str) -> None:
    expected = "seen\n\nbehind" if hidden.startswith("<p>seen") else "behind"
    assert plain_text(f"<!DOCTYPE html><html><body>{hidden}<p>behind</p>") == expected


SEEN = [
    "<div class=hidden data-hidden aria-hidden=true title='hidden'>{}</div>",
    "<div title='display:none'>{}</div>",
    "<div style='display:nonexistent'>{}</div>",
    "<div style='--display:none'>{}</div>",
    "<div style='display:none;display:block'>{}</div>",
    "<div style='display:block !important;display:none'>{}</div>",
    "<div hidden style='display:block'>{}</div>",
    "<dialog open>{}</dialog>",
    "<div style='/* display:none */'>{}</div>",
    "<div style='font-family:\";display:none;\"'>{}</div>",
    "<div style='background:url(x;display:none)'>{}</div>",
    "<span style='mso-hide:all'>{}</span>",
    "<div style='visibility:hidden'><b style='visibility:visible'>{}</b></div>",
    "<div style='visibility:visible'>{}</div>",
    "<div style='opacity:0.01'>{}</div>",
    "<div style='opacity:.5'>{}</div>",
    "<div style='font-size:0'><span style='font-size:14px'>{}</span></div>",
    "<div style='font-size:0'><font size=3>{}</font></div>",
    "<div style='font-size:0'><span style='font:bold 12px/1 Arial'>{}</span></div>",
    "<div style='font-size:0.5em'>{}</div>",
    "<div style='font-size:10px'>{}</div>",
    "<span style='max-height:0;overflow:hidden'>{}</span>",
    "<div style='max-height:0'>{}</div>",
    "<div style='max-height:0;overflow:visible'>{}</div>",
    "<div style='max-height:0;overflow:hidden;padding:10px'>{}</div>",
    "<div style='max-height:0%;overflow:hidden'>{}</div>",
    "<div style='height:0;min-height:20px;overflow:hidden'>{}</div>",
    "<table><tr><td style='height:0;overflow:hidden'>{}</table>",
    "<div style='max-height:100px;overflow:hidden'>{}</div>",
    "<span style='clip:rect(0 0 0 0)'>{}</span>",
    "<div style='position:relative;left:-10px'>{}</div>",
    "<div style='line-height:0'>{}</div>",
    "<p hidden><div>{}</div>",
    "<p hidden>gone<p>{}",
    "<ul style='list-style:none'><li hidden>gone<li>{}</ul>",
    "<table><tr><td hidden>gone<td>{}</table>",
    "<table><tr hidden><td>gone<tr><td>{}</table>",
    "<div><span hidden>gone</span>{}</div>",
    "<b hidden><p>gone</b>{}",
    "<table><tr><td><b hidden>gone</td><td>{}</table>",
    "<hr hidden>{}",
    "<input hidden>{}",
    "<td style=display:none>{}</td>",
    "<details><summary>{}</summary></details>",
    "<noscript>{}</noscript>",
    "<div hidden/>gone</div>{}",
    "<style>p { display:none }</style>{}",
    "<textarea>{}</textarea>",
    "<!-- x --!>{}",
    "<!-->{}<!--->",
    "<!-- a <!-- b -->{}",
    "<![CDATA[ gone >{}",
    "<title>gone</titl></title>{}",
]


@pytest.mark.parametrize("html", SEEN)
def test_what_a_browser_shows_stays_whatever_it_looks_like(html: str) -> None:
    assert plain_text(f"<!DOCTYPE html><html><body>{html.replace('{}', 'a word')}") == "a word"


@pytest.mark.parametrize(
    "text", ["👩\u200d💻", "❤\ufe0f\u200d🔥", "می\u200cخواهم", "क्\u200dष", "🏴\U000e0067\U000e0062\U000e007f"]
)
def test_a_character_without_a_width_that_joins_letters_stays(text: str) -> None:
    assert plain_text(f"<p>{text} &zwnj;&zwnj; x</p>") == f"{text} x"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<ol start=3><li>a<li>b</ol>", "3. a\n4. b"),
        ("<ol start='-1'><li>a<li>b<li>c</ol>", "-1. a\n0. b\n1. c"),
        ("<ol start=' 07x'><li>a</ol>", "7. a"),
        ("<ol start=x><li>a</ol>", "1. a"),
        (f"<ol start={'9' * 5_000}><li value={'9' * 5_000}>a</ol>", "1. a"),
        (f"<ol start={'0' * 5_000}5><li>a</ol>", "5. a"),
        ("<ol reversed><li>a<li>b<li>c</ol>", "3. a\n2. b\n1. c"),
        ("<ol reversed><li>a<ul><li>x<li>y</ul><li hidden>no<li>b</ol>", "2. a\n  - x\n  - y\n1. b"),
        ("<ol reversed start=10><li>a<li>b</ol>", "10. a\n9. b"),
        ("<ol><li value=5>a<li>b<li value=2>c</ol>", "5. a\n6. b\n2. c"),
        ("<ol reversed><li value=5>a<li>b</ol>", "5. a\n4. b"),
        ("<ol type=a start=26><li>a<li>b</ol>", "z. a\naa. b"),
        ("<ol type=I><li>a<li>b<li>c<li>d</ol>", "I. a\nII. b\nIII. c\nIV. d"),
        ("<ol><li type=A>a<li>b</ol>", "A. a\n2. b"),
        ("<ol style='list-style-type:lower-roman'><li>a<li>b</ol>", "i. a\nii. b"),
        ("<ol type=a start=0><li>a</ol>", "0. a"),
        ("<ul style='list-style:none'><li>a<li>b</ul>", "a\nb"),
        ("<ul><li value=3>a</ul>", "- a"),
        ("<ol><li>a<ol><li>b</ol><li>c</ol>", "1. a\n  1. b\n2. c"),
        ("<menu><li>a</menu>", "- a"),
        ("<ol><li style='display:none'>no<li>a</ol>", "1. a"),
    ],
    ids=lambda text: text[:30],
)
def test_list_items_have_the_numbers_that_a_browser_shows(html: str, text: str) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("10<sup>3</sup> km", "10³ km"),
        ("10<sup>-3</sup> m<sup>2</sup>", "10⁻³ m²"),
        ("2<sup>10.5</sup>", "2^(10.5)"),
        ("2<sup>n</sup> 2<sup>k</sup>", "2ⁿ 2^k"),
        ("the 1<sup>st</sup> and 22<sup>nd</sup>", "the 1st and 22nd"),
        ("Word<sup>TM</sup>", "WordTM"),
        ("as shown<sup>1</sup>.", "as shown¹."),
        ("H<sub>2</sub>O", "H₂O"),
        ("10<sub>2</sub>", "10₂"),
        ("10<sub>b</sub>", "10_b"),
        ("10<sup> 3 </sup>km", "10³ km"),
        ("10<sup></sup>5", "105"),
        ("<sup>1</sup>/<sub>2</sub>", "¹/₂"),
        ("1<sup><a href='#f'>2</a></sup>", "1²"),
        ("10<sup>6", "10⁶"),
        ("Now <s>$100</s> $80", "Now ~~$100~~ $80"),
        ("Now <del> $100 </del>$80", "Now ~~$100~~ $80"),
        ("<strike>a</strike>", "~~a~~"),
        ("<span style='text-decoration:line-through'>a</span>", "~~a~~"),
        ("<s><del>a</del></s>", "~~a~~"),
        ("<del><p>a</p><p>b</p></del>c", "~~a~~\n\n~~b~~\n\nc"),
        ("a<s></s>b", "ab"),
        ("<s>never closed", "~~never closed~~"),
        ("<s hidden>a</s>b", "b"),
        ("<ins>a</ins> <u>b</u>", "a b"),
    ],
)
def test_powers_and_what_is_struck_out_are_marked(html: str, text: str) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<a href='mailto:ada@example.com?subject=Hi%20there'>write</a>", "write <ada@example.com>"),
        ("<a href='MAILTO:ada%2Bx@example.com'>write</a>", "write <ada+x@example.com>"),
        ("<a href='mailto:?to=a@example.com&subject=x'>write</a>", "write <a@example.com>"),
        ("<a href='mailto:?subject=x'>share</a>", "share"),
        ("<a href='mailto:a@example.com?x'>a@example.com</a>", "a@example.com"),
        ("<a href='mailto:a%0D%0Ab@example.com'>x</a>", "x <a%0D%0Ab@example.com>"),
        ("<a href='//example.com/x'>x</a>", "x <https://example.com/x>"),
        ("<base href='https://example.com/a/'><a href='b?c=1'>x</a> <a href='/d'>y</a>",
         "x <https://example.com/a/b?c=1> y <https://example.com/d>"),
        ("<base target=_top><base href='//example.com'><a href='../b'>x</a>", "x <https://example.com/b>"),
        ("<base href='https://a.example/'><base href='https://b.example/'><a href='c'>x</a>", "x <https://a.example/c>"),
        ("<base href='https://a.example/'><a href='#top'>x</a> <a href='javascript:y'>y</a>", "x y"),
        ("<base href='/only/a/path'><a href='c'>x</a>", "x"),
        ("<!-- <base href='https://a.example/'> --><a href='c'>x</a>", "x"),
        ("<a href='https://[x'>x</a>", "x <https://[x>"),
        ("<base href='https://a.example/'><a href='//[x'>x</a>", "x"),
        ("<a href=' https://example.com/a b\n/c '>x</a>", "x <https://example.com/a%20b/c>"),
        ("<a href='tel:+49123'>call</a>", "call <+49123>"),
        ("<a href='tel:+49%20123'>call</a> <a href='sms:+49 1?body=x'>text</a>", "call <+49 123> text <+49 1>"),
        ("<a href='https://example.com/a>b<c`\"'>x</a>", "x <https://example.com/a%3Eb%3Cc%60%22>"),
        ("<a href='https://x.example/a-'>https://x.example/a-</a>", "https://x.example/a- <https://x.example/a->"),
        ("<a href='https://x.example/a/'>https://x.example/a/</a>", "https://x.example/a/"),
    ],
    ids=lambda text: text[:50],
)  # fmt: skip
def test_links_lead_where_those_of_a_browser_lead(html: str, text: str) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<table><tr><td>&nbsp;</td><td>Text</td><td>\u2007</td></tr></table>", "Text"),
        ("<table><tr><td>a</td><td>&nbsp;</td><td>b</td></tr></table>", "a | b"),
        ("<table><tr><td>&zwnj;</td><td><img src=x></td><td>b</td></tr></table>", "b"),
        ("<table role=presentation><tr><td>a</td><td>b</td></tr></table>", "a b"),
        ("<table role='none'><tr><td>a<td><table><tr><td>x<td>y</table></table>", "a\n\nx | y"),
        ("<table><tr><td><div>one</div><td>two</table>", "one\ntwo"),
    ],
)
def test_cells_that_only_arrange_leave_no_bars(html: str, text: str) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize("tag", ["audio", "canvas", "meter", "progress", "video"])
def test_text_for_old_browsers_is_left_out(tag: str) -> None:
    assert plain_text(f"<{tag} class=x>Not <p>supported</p></{tag}>Hello") == "Hello"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<form><h2 hidden>x</form>y", ""),
        ("<form hidden>x<form>y</form>z", "z"),
        ("<table><form hidden><td>x", "x"),
        ("<button hidden>x<button>y", "y"),
        ("<a><label style='visibility:hidden'><div><a>y", "y"),
        ("<table><dl><form hidden>y", "y"),
        ("<nobr hidden>x<nobr>y", "y"),
        ("<table>x<article hidden><caption>y", "x\ny"),
        ("<div style='visibility:hidden'><table style='visibility:visible'>x<td>y", "y"),
    ],
)
def test_malformed_markup_hides_what_a_browser_hides(html: str, text: str) -> None:
    assert plain_text(html) == text


def test_what_shows_tags_as_text_is_taken_as_it_is() -> None:
    assert plain_text("<textarea>a <b>&amp; b</textarea> <xmp><i>&amp;</xmp>") == "a <b>& b\n\n<i>&amp;"


@pytest.mark.parametrize(
    "markup",
    ["<div hidden>", "<b hidden>", "<b hidden><p>", "<p><b hidden></p>", "<i></b>", "<s>", "<sup>", "<sup>1", "<s><p>",
     "<table><td>", "<span><div></span>", "<b style='opacity:0'><div>", "<ol reversed><li>", "<base href=",
     "<dialog><p>", "</p>", "<del>x<br>", "<textarea>", "<xmp ", "<!--!", "<div style='", "<a style='x:(;'>",
     "<p style='/*'>", "\u200b ", "\u200b", "&shy;", "<li><b hidden>", "<x><y><z></w>", "<b id=1><i id=2><div>",
     "</div>", "<h1><h2>", "<td><a href=https://x>", "<font size=1><p>", "<ol start=-1>"],
)  # fmt: skip
def test_hostile_structure_takes_time_in_proportion(markup: str) -> None:
    for html in (
        markup * (200_000 // len(markup)),
        "<b hidden>" * 9_000 + "<div>" * 9_000 + markup + "</b></div>" * 9_000,
    ):
        begin = time.process_time()
        plain_text(html)
        assert time.process_time() - begin < 5


@settings(AT_ANY_SPEED, derandomize=True, max_examples=200)
@given(st.lists(st.sampled_from(MARKUP)).map("".join) | st.text())
def test_any_markup_gives_text(html: str) -> None:
    text = plain_text(html)
    assert text == text.strip("\n")
    assert text.count("\n") <= 2 * len(html)
