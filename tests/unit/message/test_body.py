"""delivery/message/mime.py: content arrives unchanged, whatever the server supports."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delivery.errors import MessageError
from delivery.message.mime import is_html
from tests.support.properties import AT_ANY_SPEED
from tests.support.rendering import assert_same_text, message, parsed, rendered, text_of
from tests.support.samples.contents import CONTENTS


@pytest.mark.parametrize("content", CONTENTS, ids=lambda text: ascii(text)[:30])
def test_the_content_arrives_as_it_was(content: str) -> None:
    for octets in rendered(message(content=content)):
        assert_same_text(parsed(octets), content)


@settings(AT_ANY_SPEED, derandomize=True, max_examples=100)
@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_content_arrives_as_it_was(content: str) -> None:
    for octets in rendered(message(content=content)):
        *_, part = parsed(octets).walk()
        assert_same_text(part, content)


@settings(AT_ANY_SPEED, derandomize=True, max_examples=100)
@given(st.text(st.sampled_from("\r\n. \tax=é你😀-_\ufeff<")), st.integers(1, 1100))
def test_any_mixture_of_line_ends_dots_and_spaces_arrives_as_it_was(content: str, times: int) -> None:
    content *= times
    for octets in rendered(message(content=content)):
        assert_same_text(parsed(octets), content)


@pytest.mark.parametrize("content", ["a\0b", "a\ud800b", "<html>\udfff</html>"])
def test_content_that_is_not_text_is_refused(content: str) -> None:
    with pytest.raises(MessageError, match="the content contains"):
        message(content=content)


@pytest.mark.parametrize(
    ("content", "encoding", "encoding_of_ascii"),
    [
        ("plain", "7bit", "7bit"),
        ("x" * 999, "quoted-printable", "quoted-printable"),
        ("caf\xe9 and a longer text around it", "8bit", "quoted-printable"),
        ("你好", "8bit", "base64"),
        ("你好" * 500, "base64", "base64"),
        ("caf\xe9 " + "x" * 999, "quoted-printable", "quoted-printable"),
    ],
)
def test_the_lightest_encoding_is_chosen(content: str, encoding: str, encoding_of_ascii: str) -> None:
    encodings = [parsed(octets)["Content-Transfer-Encoding"] for octets in rendered(message(content=content))]
    assert encodings == [encoding, encoding_of_ascii]


@pytest.mark.parametrize("content", ["", "plain", "<b>bold</b>", "a < b", "<!DOCTYPE xml>", "< html>"])
def test_everything_else_is_plain_text(content: str) -> None:
    assert not is_html(content)


@pytest.mark.parametrize("start", ["<!DOCTYPE html>", "<!doctype HTML>", "\n <HTML lang=en>", "<html>"])
def test_html_goes_with_a_plain_text_before_it(start: str) -> None:
    assert is_html(f"{start} <p>")
    content = f"{start}\n.<p>Grüße <a href='https://example.com/?a=1&amp;b=2'>hier</a></p>.\n"
    for octets in rendered(message(content=content)):
        email = parsed(octets)
        assert email.get_content_type() == "multipart/alternative"
        plain, html = email.iter_parts()
        assert plain.get_content_type() == "text/plain"
        assert "Grüße hier <https://example.com/?a=1&b=2>" in text_of(plain)
        assert html.get_content_type() == "text/html"
        assert_same_text(html, content)


@pytest.mark.parametrize("content", CONTENTS, ids=lambda text: ascii(text)[:30])
def test_html_arrives_as_it_was(content: str) -> None:
    for octets in rendered(message(content=f"<html>{content}")):
        assert_same_text(list(parsed(octets).iter_parts())[1], f"<html>{content}")


def test_no_boundary_is_in_the_content() -> None:
    content = "<html>" + "".join(f"--=_T0ken_{number}\n" for number in range(9))
    for octets in rendered(message(content=content)):
        assert parsed(octets).get_boundary() == "=_T0ken_9"
