"""Messages with personal fields equal, character by character, an ordinary message made for the recipient alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery.errors import MessageError
from delivery.message.personal import MissingValue, PersonalMessage
from delivery.message.placeholders import UNSAFE
from delivery.message.unsubscribe import Tokens
from tests.support.properties import AT_ANY_SPEED
from tests.support.rendering import AT, message, parsed, text_of, unstuffed
from tests.support.samples.personal_fields import FIELDS, NAMES, Fragment, naive, placeholder

ANN = "ann@example.org"
LINKS = Tokens("s" * 16, "installation").links("https://mail.example.com/app", 7)
PAGE = "<!DOCTYPE html><html><body>{}</body></html>"

LITERALS = st.one_of(
    st.text(st.characters(exclude_characters="\0{}<>", exclude_categories=["Cs"]), max_size=60),
    st.sampled_from(("\r\n", "\n", "\r", ".", "\r\n.", "\n..\n", " \n", "\t\n", "=\n", "{{{{", "x" * 990, "x" * 998)),
    st.sampled_from(
        ("x" * 1100, "你好，欢迎光临。" * 20, "\U0001f600\n", "é" * 400, "-- \n", "From \n", "}}", "=_T0ken_0")
    ),
).map(Fragment)
PLACEHOLDERS = st.builds(placeholder, st.sampled_from(NAMES), st.sampled_from((None, None, "", "there", "=?x?=", "您")))
TEMPLATES = st.lists(st.one_of(LITERALS, PLACEHOLDERS), max_size=12)


def personal(subject: str = "Hello", content: str = "Hello\n", **changed: object) -> PersonalMessage:
    return message(subject, content, kind=PersonalMessage, **changed)  # type: ignore[return-value]


def rendered(email: PersonalMessage, fields: Mapping[str, str]) -> Iterator[EmailMessage]:
    """Yield the message to a recipient in 8-bit and in 7-bit form, after the checks that a strict server would make."""
    to_ann = email.for_recipient(fields)
    for eight_bit in (True, False):
        octets = to_ann.as_bytes(ANN, 5, AT, eight_bit=eight_bit)
        assert unstuffed(to_ann.smtp_data(ANN, 5, AT, eight_bit=eight_bit)) == octets
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n|\0", octets)
        assert all(len(line) <= 998 for line in octets.split(b"\r\n"))
        assert eight_bit or octets.isascii()
        assert len(octets) <= email.size
        # The limit is 76, but b2a_qp makes a line of 77 if a blank at its end has to be encoded.
        for head in re.findall(rb"quoted-printable\r\n\r\n(.*?)(?:\r\n--=_|\Z)", octets, re.DOTALL):
            assert all(len(line) <= 77 for line in head.split(b"\r\n"))
        yield parsed(octets)


def parts_of(email: EmailMessage) -> list[str]:
    return [text_of(part) for part in email.walk() if not part.is_multipart()]


def without_last_line_end(texts: list[str]) -> list[str]:
    return [text.removesuffix("\n") for text in texts]


@AT_ANY_SPEED
@given(TEMPLATES, FIELDS, st.booleans())
def test_plain_text_equals_that_of_an_ordinary_message(
    template: list[Fragment], fields: dict[str, str], with_link: bool
) -> None:
    links = LINKS if with_link else None
    source, expected = "".join(each.source for each in template), naive(template, fields)
    ordinary = parsed(message("Hello", expected, unsubscribe=links).as_bytes(ANN, 5, AT, eight_bit=True))
    for email in rendered(personal("Hello", source, unsubscribe=links), fields):
        assert without_last_line_end(parts_of(email)) == without_last_line_end(parts_of(ordinary))
        assert {**dict(email), "Content-Transfer-Encoding": ""} == {**dict(ordinary), "Content-Transfer-Encoding": ""}


@AT_ANY_SPEED
@given(TEMPLATES, FIELDS)
def test_the_subject_equals_that_of_an_ordinary_message(template: list[Fragment], fields: dict[str, str]) -> None:
    template = [each for each in template if not UNSAFE.search(each.source)]
    source, expected = "".join(each.source for each in template), naive(template, fields)
    email = personal(source, "Hello\n")
    if email.texts.subject.placeholders and len(expected.encode()) > 998:
        with pytest.raises(MessageError, match="the subject with this recipient's values is longer than 998 bytes"):
            list(rendered(email, fields))
    else:
        ordinary = message(expected, "Hello\n").as_bytes(ANN, 5, AT, eight_bit=True)
        assert email.for_recipient(fields).as_bytes(ANN, 5, AT, eight_bit=True) == ordinary
        assert [each["Subject"] for each in rendered(email, fields)] == [parsed(ordinary)["Subject"]] * 2


HTML_LITERALS = st.sampled_from(
    (
        *("<p>", "</p>", "<br>", "<b>", "</b>", "text ", "\n", "\r\n", "<td>", "&amp;", "&nbsp;", "<!-- note -->", "."),
        *('<a href="https://example.com/">', "</a>", "<ul><li>", "</ul>", "{{{{ ", "<style>p { color: red }</style>"),
        *(
            '<img alt="photo">',
            "<p style='color: #333'>",
            "x" * 990,
            "你好，" * 50,
            "=",
            "\U0001f600\n",
            "<h1>",
            "</h1>",
        ),
    )
).map(Fragment)
HTML_PLACEHOLDERS = st.one_of(
    PLACEHOLDERS.map(lambda each: [each]),
    PLACEHOLDERS.map(lambda each: [Fragment("<td title='"), each, Fragment("'>")]),
    st.builds(placeholder, st.sampled_from(NAMES), in_url=st.just(True)).map(
        lambda each: [Fragment('<a href="https://example.com/?q=1&amp;x='), each, Fragment('#y">link</a>')]
    ),
)
HTML_TEMPLATES = st.lists(st.one_of(HTML_LITERALS.map(lambda each: [each]), HTML_PLACEHOLDERS), max_size=12)


@AT_ANY_SPEED
@given(HTML_TEMPLATES, FIELDS, st.booleans())
def test_html_equals_that_of_an_ordinary_message(
    fragments: list[list[Fragment]], fields: dict[str, str], with_link: bool
) -> None:
    links = LINKS if with_link else None
    template = [Fragment("<!DOCTYPE html><body>"), *(each for some in fragments for each in some), Fragment("</body>")]
    source, expected = "".join(each.source for each in template), naive(template, fields, html=True)
    ordinary = parsed(message("Hello", expected, unsubscribe=links).as_bytes(ANN, 5, AT, eight_bit=True))
    for email in rendered(personal("Hello", source, unsubscribe=links), fields):
        assert [part.get_content_type() for part in email.iter_parts()] == ["text/plain", "text/html"]
        assert parts_of(email)[1] == parts_of(ordinary)[1]


WORDS = st.from_regex(r"[A-Za-z=.\u4e00-\u4eff\xc0-\xff-]{1,12}( [a-zé.=]{1,9}){0,3}", fullmatch=True)


@AT_ANY_SPEED
@given(HTML_TEMPLATES, st.fixed_dictionaries(dict.fromkeys(NAMES, WORDS)))
def test_the_plain_text_of_html_equals_that_of_an_ordinary_message(
    fragments: list[list[Fragment]], fields: dict[str, str]
) -> None:
    template = [each for some in fragments for each in some if each.default != ""]
    source, expected = (
        "".join(texts) for texts in ((f.source for f in template), [naive(template, fields, html=True)])
    )
    ordinary = parsed(message("Hello", PAGE.format(expected)).as_bytes(ANN, 5, AT, eight_bit=True))
    for email in rendered(personal("Hello", PAGE.format(source)), fields):
        assert parts_of(email)[0] == parts_of(ordinary)[0]


def only(email: PersonalMessage, fields: Mapping[str, str], *, eight_bit: bool = True) -> bytes:
    return email.for_recipient(fields).as_bytes(ANN, 5, AT, eight_bit=eight_bit)


@pytest.mark.parametrize(
    ("content", "value", "encodings"),
    [
        ("Dear {{ name }}", "Ada", ("7bit", "7bit")),
        ("Dear {{ name }}", "Zoë", ("8bit", "quoted-printable")),
        ("Größe {{ name }}", "Ada", ("8bit", "base64")),
        ("Eine Größe für {{ name }}, genau wie bestellt", "Ada", ("8bit", "quoted-printable")),
        ("Dear {{ name }}", "a" * 993, ("7bit", "7bit")),
        ("Dear {{ name }}", "a" * 994, ("quoted-printable", "quoted-printable")),
        ("{{ name }}{{ name }}", "a" * 499, ("7bit", "7bit")),
        ("{{ name }}{{ name }}", "a" * 500, ("quoted-printable", "quoted-printable")),
        ("x" * 999 + "{{ name }}", "Ada", ("quoted-printable", "quoted-printable")),
        ("你好 {{ name }}，欢迎光临", "小龍", ("8bit", "base64")),
        ("Dear {{ name }}", "--=_T0ken_0", ("quoted-printable", "quoted-printable")),
    ],
)
def test_each_recipient_gets_the_simplest_encoding_that_can_carry_their_values(
    content: str, value: str, encodings: tuple[str, str]
) -> None:
    email = personal(content=content)
    for fields in ({"name": "Bob"}, {"name": value}, {"name": "Bob"}, {"name": value}):
        both = [parsed(only(email, fields, eight_bit=eight_bit)) for eight_bit in (True, False)]
        assert [text_of(each) for each in both] == [content.replace("{{ name }}", fields["name"]) + "\n"] * 2
    assert tuple(each["Content-Transfer-Encoding"] for each in both) == encodings


def test_base64_is_right_for_every_length_of_values() -> None:
    email = personal(content="你好{{ a }}，{{ b }}{{ c | }}x{{ a }}欢迎光临欢迎光临{{ b }}")
    for a in range(1, 8):
        for b in range(1, 70, 3):
            for c in ("", "y", "yy", "yyy"):
                fields = {"a": "A" * a, "b": "B" * b, "c": c}
                octets = only(email, fields, eight_bit=False)
                expected = f"你好{'A' * a}，{'B' * b}{c}x{'A' * a}欢迎光临欢迎光临{'B' * b}\n"
                assert text_of(parsed(octets)) == expected
                assert max(map(len, octets.split(b"\r\n"))) <= 82


def test_both_parts_and_the_subject_carry_the_values() -> None:
    content = PAGE.format(
        '<p>Dear {{ name | guest }},</p><p><a href="{{ ticket }}">Your ticket</a> for '
        '<a href="https://example.com/{{ company | us }}/x">{{ company | us }}</a>, '
        '<a href="mailto:{{ host }}?subject={{ name | guest }}">write</a> <a href="{{ ticket }}">{{ ticket }}</a></p>'
    )
    fields = {
        "name": "Ada <Love> & Lace",
        "company": "Ö/2",
        "ticket": "https://tix.example/?a=1&b=<ü>",
        "host": "x y@example.com",
    }
    for email in rendered(personal("A ticket for {{ name | guest }}", content), fields):
        assert email["Subject"] == "A ticket for Ada <Love> & Lace"
        plain, html = parts_of(email)
        assert (
            html
            == PAGE.format(
                "<p>Dear Ada &lt;Love&gt; &amp; Lace,</p>"
                '<p><a href="https://tix.example/?a=1&amp;b=%3C%C3%BC%3E">Your ticket</a> for '
                '<a href="https://example.com/%C3%96%2F2/x">Ö/2</a>, '
                '<a href="mailto:x%20y@example.com?subject=Ada%20%3CLove%3E%20%26%20Lace">write</a> '
                '<a href="https://tix.example/?a=1&amp;b=%3C%C3%BC%3E">https://tix.example/?a=1&amp;b=&lt;ü&gt;</a></p>'
            )
            + "\n"
        )
        assert plain == (
            "Dear Ada <Love> & Lace,\n\nYour ticket <https://tix.example/?a=1&b=%3C%C3%BC%3E> for "
            "Ö/2 <https://example.com/%C3%96%2F2/x>, write <x y@example.com> https://tix.example/?a=1&b=<ü>\n"
        )


def test_a_telephone_number_can_be_dialled() -> None:
    email = personal(content=PAGE.format('<a href="tel:{{ phone }}">call</a>'))
    for each in rendered(email, {"phone": "+65 6123"}):
        plain, html = parts_of(each)
        assert plain == "call <+65 6123>\n"
        assert 'href="tel:+65%206123"' in html


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "no value for {{ name }}"),
        ({"name": ""}, "no value for {{ name }}"),
        ({"name": "a\r\nBcc: x@example.com"}, "the value of {{ name }} contains U+000D"),
        ({"name": "a\x00"}, "the value of {{ name }} contains U+0000"),
        ({"name": "a\u202eb"}, "the value of {{ name }} contains U+202E"),
        ({"name": "\ud800"}, "the value of {{ name }} contains U+D800"),
        ({"name": "Ada", "link": "javascript:alert(1)"}, "the value of {{ link }} does not begin with https://"),
        ({"name": "Ada", "link": "https://"}, "the value of {{ link }} does not begin with https://"),
    ],
)
def test_a_recipient_without_a_usable_value_gets_no_message(fields: dict[str, str], reason: str) -> None:
    email = personal("{{ name }}", PAGE.format('<a href="{{ link | https://example.com/ }}">'))
    with pytest.raises(MessageError, match=re.escape(reason)):
        email.for_recipient(fields)
    assert email.for_recipient({"name": "Ada"})


def test_a_missing_value_is_told_apart() -> None:
    email = personal(content="{{ first_name | you }} {{ first_name }}")
    with pytest.raises(MissingValue, match=re.escape("no value for {{ first_name }}")):
        email.smtp_data(ANN, 5, AT, eight_bit=True)


def test_the_sample_shows_the_placeholders() -> None:
    email = personal("For {{ name }}", "Dear {{ name | there }}")
    octets = email.sample().as_bytes(ANN, 5, AT, eight_bit=True)
    assert b"Subject: For {{ name }}\r\n" in octets
    assert octets.endswith(b"\r\n\r\nDear {{ name }}\r\n")
