"""Placeholders of personal fields in texts and in HTML: which ones are understood, and which are refused."""

from __future__ import annotations

import time

import pytest

from delivery.message.html_placeholders import parse_html
from delivery.message.placeholders import Context, PlaceholderError, Template, parse_text

PAGE = "<!DOCTYPE html><html><body>{}</body></html>"


def found(template: Template) -> list[tuple[str, str | None]]:
    return [(each.name, each.default) for each in template.placeholders]


def contexts(html: str) -> list[Context]:
    return [each.context for each in parse_html(html).placeholders]


@pytest.mark.parametrize(
    ("text", "name", "default"),
    [
        ("{{ name }}", "name", None),
        ("{{name}}", "name", None),
        ("{{ name | there }}", "name", "there"),
        ("{{name|dear friend}}", "name", "dear friend"),
        ("{{ company | }}", "company", ""),
        ("{{ first_name }}", "first_name", None),
        ("{{ seat_2 }}", "seat_2", None),
        ("{{ straße }}", "straße", None),
        ("{{ прізвище }}", "прізвище", None),
        ("{{ 姓名 | 您好 }}", "姓名", "您好"),
        ("{{ नाम }}", "नाम", None),
        ("{{ prénom }}", "prénom", None),
        ("{{ pre\u0301nom }}", "prénom", None),
    ],
)
def test_a_placeholder_has_a_name_and_perhaps_a_text_for_those_without_a_value(
    text: str, name: str, default: str | None
) -> None:
    template = parse_text(f"Dear {text},\nwelcome")
    assert found(template) == [(name, default)]
    assert template.filled(["Ada"]) == "Dear Ada,\nwelcome"


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("no braces", "no braces"),
        ("{ one } and }} two", "{ one } and }} two"),
        ("{{{{", "{{"),
        ("{{{{ name }}", "{{ name }}"),
        ("{{{{{", "{{{"),
        ("{{{{{{{{", "{{{{"),
        ("100 {% of it", "100 {% of it"),
    ],
)
def test_four_braces_stand_for_two_and_single_braces_stay(text: str, sent: str) -> None:
    template = parse_text(text)
    assert found(template) == []
    assert template.filled([]) == sent
    assert parse_html(text).filled([]) == sent


def test_a_placeholder_can_follow_four_braces() -> None:
    template = parse_text("{{{{{{ name }}")
    assert template.filled(["Ada"]) == "{{Ada"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{ }}", "lower-case letters"),
        ("{{ First name }}", "write {{ first_name }}"),
        ("{{ Name }}", "write {{ name }}"),
        ("{{ user.name }}", "write {{ user_name }}"),
        ("{{{ name }}}", "nested braces"),
        ("{{ name | upper | trim }}", "only plain text can follow the bar"),
        ('{{ name | default: "there" }}', "only plain text can follow the bar"),
        ("{{ name | default('there') }}", "only plain text can follow the bar"),
        ("{{ name | a\u202eb }}", "U+202E"),
        ("{{ name", "not closed on this line"),
        ("{{ name }", "not closed on this line"),
        ("{{ name\n}}", "not closed on this line"),
        ("{{", "not closed on this line"),
        ("{{{", "not closed on this line"),
        ("{{ a {{ name }}", "nested braces"),
        ("{{ #if name }}", "not a placeholder"),
        ("{{ name + 1 }}", "not a placeholder"),
        ("{% if name %}", "{% … %} cannot be used"),
        ("{{ " + "x" * 65 + " }}", "not a placeholder"),
    ],
)
def test_anything_else_between_braces_is_an_error_with_line_and_column(text: str, reason: str) -> None:
    for parse in (parse_text, parse_html):
        with pytest.raises(PlaceholderError) as raised:
            parse(f"{{{{ ok }}}}\r\n\rDear {text}")
        assert reason in raised.value.reason
        assert (raised.value.line, raised.value.column) == (3, 6)
        assert str(raised.value).startswith("line 3, column 6: ")
        assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("html", "context"),
    [
        ("<p>{{ x }}</p>", Context.HTML),
        ("{{ x }} < 3", Context.HTML),
        ("3 < {{ x }}", Context.HTML),
        ("<title>{{ x }}</title>", Context.HTML),
        ("<textarea>{{ x }}</textarea>", Context.HTML),
        ('<img alt="{{ x }}">', Context.HTML),
        ("<td title='{{ x }}' style='a:b'>", Context.HTML),
        ('<td aria-label = "{{ x }}"/>', Context.HTML),
        ('<meta itemprop="name" content="{{ x }}">', Context.HTML),
        ('<a href="{{ x }}">', Context.WHOLE_URL),
        ('<a href=" {{ x }}/more">', Context.WHOLE_URL),
        ('<a HREF="https://example.com/{{ x }}">', Context.URL),
        ('<a href="https://example.com/?a=1&amp;b={{ x }}">', Context.URL),
        ('<a href="https://example.com/?a=1&b={{ x }}">', Context.URL),
        ('<a href="/page/{{ x }}">', Context.URL),
        ('<a href="#{{ x }}">', Context.URL),
        ('<a href="//{{ x }}">', Context.URL),
        ('<a href="tel:{{ x }}">', Context.PHONE),
        ('<a href="mailto:{{ x }}">', Context.MAILTO),
        ("<img src='https://example.com/{{ x }}.png'>", Context.URL),
        ('<table background="https://example.com/{{ x }}">', Context.URL),
    ],
)
def test_html_shows_where_a_placeholder_is(html: str, context: Context) -> None:
    assert contexts(PAGE.format(html)) == [context]


def test_a_second_placeholder_in_a_url_does_not_begin_it() -> None:
    html = '<a href="{{ base }}/{{ page }}">{{ base }}</a><a href="{{ other }}">'
    assert contexts(html) == [Context.WHOLE_URL, Context.URL, Context.HTML, Context.WHOLE_URL]


@pytest.mark.parametrize(
    ("html", "reason"),
    [
        ("<script>{{ x }}</script>", "inside <script>"),
        ("<SCRIPT>{{ x }}", "inside <script>"),
        ("<style>p { color: {{ x }} }</style>", "inside <style>"),
        ("<iframe src='{{ x }}'></iframe>", "inside <iframe>"),
        ("<template>{{ x }}</template>", "inside <template>"),
        ("<xmp>{{ x }}</xmp>", "inside <xmp>"),
        ("<!-- {{ x }} -->", "inside a comment"),
        ("<!--[if mso]>{{ x }}<![endif]-->", "inside a comment"),
        ("<!DOCTYPE {{ x }}>", "inside a comment or declaration"),
        ("</ {{ x }}>", "inside a comment"),
        ("<h{{ x }}>", "in the name of a tag"),
        ("</p {{ x }}>", "inside a closing tag"),
        ("<{{ x }}>", "directly after <"),
        ("<p {{ x }}>", "outside of a quoted attribute"),
        ("<p data-{{ x }}='1'>", "outside of a quoted attribute"),
        ("<p title={{ x }}>", "outside of a quoted attribute"),
        ("<p title=a{{ x }}>", "outside of a quoted attribute"),
        ('<p b=c="> {{ x }} " title=x>', "outside of a quoted attribute"),
        ('<p onclick="f({{ x }})">', "in the attribute onclick of <p>"),
        ('<p style="color: {{ x }}">', "in the attribute style of <p>"),
        ('<img srcset="{{ x }} 2x">', "in the attribute srcset of <img>"),
        ('<meta http-equiv="refresh" content="0; {{ x }}">', "in the attribute content of <meta>"),
        ('<meta content="0; {{ x }}" http-equiv="refresh">', "in the attribute content of <meta>"),
        ('<a href="javascript:{{ x }}">', "in a URL that begins with javascript:"),
        ('<a href=" java\nscript:f({{ x }})">', "in a URL that begins with javascript:"),
        ('<a href="&#106;avascript&colon;{{ x }}">', "in a URL that begins with javascript:"),
        ('<a href="data:text/html,{{ x }}">', "in a URL that begins with data:"),
        ('<a href="java{{ x }}">', "a link must begin with"),
        ('<a href="java{{ x }}:alert(1)">', "a link must begin with"),
        ('<a href="{{ x | there }}">', "after the bar must begin with https://"),
        ('<a href="{{ x | javascript:alert(1) }}">', "after the bar must begin with https://"),
        ('<a href="{{ x | }}">', "after the bar must begin with https://"),
        ("Q&{{ x }}", "directly after &"),
        ("&#{{ x }};", "directly after &"),
        ('<a href="https://a.example/?a&{{ x }}=1">', "directly after &"),
        ("{{ <b>x</b> }}", "contains a tag"),
        ("{{ x | <br> }}", "contains a tag"),
        ('<p title="{{ x | "y" }}">', "contains a tag or a quotation mark"),
    ],
)
def test_placeholders_are_refused_where_a_value_could_do_harm(html: str, reason: str) -> None:
    with pytest.raises(PlaceholderError) as raised:
        parse_html(PAGE.format(html))
    assert reason in raised.value.reason


def test_braces_can_be_written_where_placeholders_are_refused() -> None:
    html = "<style>a{{{{b</style><!-- {{{{ --><p onclick='{{{{'>{{ x }}"
    assert parse_html(html).filled(["Ada"]) == html.replace("{{{{", "{{").replace("{{ x }}", "Ada")


def test_the_text_between_the_braces_of_html_is_html() -> None:
    html = "{{&nbsp;name&nbsp;|&nbsp;Tom &amp; Jerry }} {{ x | 5 &lt; 6 }} {{ y | a < b }}"
    assert found(parse_html(html)) == [("name", "Tom & Jerry"), ("x", "5 < 6"), ("y", "a < b")]


def test_long_texts_are_parsed_quickly() -> None:
    texts = ["{{ x }}" * 1000 + "a" * 2_000_000, "a" * 2_000_000 + "{{ x", "\n" * 1_000_000 + "{{ x }}" * 1000]
    texts += ["<a href='" + "{{ x }}/" * 1000 + "a" * 1_000_000, "{" * 2_000_001, "<a title='{{ x }}'>" * 1000]
    for text in texts:
        for parse in (parse_text, parse_html):
            began = time.perf_counter()
            try:
                parse(text)
            except PlaceholderError as error:
                assert len(str(error)) < 300
            assert time.perf_counter() - began < 20


def test_there_are_at_most_a_thousand_placeholders() -> None:
    assert len(parse_text("{{ x }}" * 1000).placeholders) == 1000
    with pytest.raises(PlaceholderError, match="column 7001: there are more than 1,000 placeholders"):
        parse_text("{{ x }}" * 1001)
