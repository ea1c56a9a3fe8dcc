"""Addresses with look-alike characters, addresses as people type them, and home.arpa."""

from __future__ import annotations

import time
import unicodedata

import pytest

from intake.address import clean_address, clean_typed_address, stored_address
from intake.errors import ValidationError

# Default_Ignorable_Code_Point of Unicode 17 (DerivedCoreProperties.txt), reserved code points included.
IGNORABLE = [(0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F)]
IGNORABLE += [(0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F)]
IGNORABLE += [(0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A)]
IGNORABLE += [(0xE0000, 0xE0FFF)]
OTHERS = [0x2800, 0xFFFC, 0xFFFD, 0xFFF9, 0xFFFB, 0xE000, 0xF8FF, 0xF0000, 0x10FFFD, 0xFDD0, 0xFDEF, 0xFFFE, 0xFFFF]
OTHERS += [
    0x1FFFE,
    0x10FFFF,
    0xD800,
    0xDFFF,
    0x3000,
    0xA0,
    0x2028,
    0x2400,
    0x2423 - 1,
    0x3013,
    0x1D159,
    0x16FE4,
    0x13441,
]


def assert_refused(text: str, number: int) -> None:
    with pytest.raises(ValidationError) as refused:
        clean_address(text)
    assert f"U+{number:04X}" in refused.value.message
    assert unicodedata.name(chr(number), "") in refused.value.message
    assert "type the address again" in refused.value.message


@pytest.mark.parametrize(("first", "last"), IGNORABLE, ids=lambda number: f"{number:04X}")
def test_a_character_that_is_ignored_makes_no_second_recipient(first: int, last: int) -> None:
    for number in range(first, last + 1):
        for text in (f"ada{chr(number)}@example.com", f"a@exam{chr(number)}ple.com", f'"a {chr(number)}"@example.com'):
            assert_refused(text, number)


@pytest.mark.parametrize("number", OTHERS, ids=lambda number: f"{number:04X}")
def test_a_character_that_draws_nothing_or_stands_for_a_lost_one_is_refused(number: int) -> None:
    for text in (f"ada{chr(number)}@example.com", f"a@exam{chr(number)}ple.com", f"{chr(number)}@example.com"):
        assert_refused(text, number)


@pytest.mark.parametrize(
    "local", ["jörg", "νίκος", "用户", "محمد", "उदाहरण", "ቴዎድሮስ", "김철수", "иван", "😀", "a\u0301b", "ทดสอบ", "ខ្មែរ"]
)
def test_the_letters_of_every_script_are_taken(local: str) -> None:
    assert clean_address(f"{local}@example.com").text == unicodedata.normalize("NFC", f"{local}@example.com")


TYPED = [
    "ada@example.com",
    " ada@example.com\t",
    "Ada <ada@example.com>",
    "Ada Lovelace <ada@example.com> ",
    '"Lovelace, Ada" <ada@example.com>',
    '"Ada \\"A\\" <x>" <ada@example.com>',
    "<ada@example.com>",
    "Ada<ada@example.com>",
    "Ädä \u202e <ada@EXAMPLE.com>",
    "mailto:ada@example.com",
    "MAILTO:ada@example.com?subject=Hi%20there&to=x@example.com",
    "<mailto:ada@example.com>",
    "Ada < ada@example.com >",
    "mailto:%61da%40example.com",
]


@pytest.mark.parametrize("text", TYPED)
def test_an_address_may_be_typed_with_a_name_or_as_a_link(text: str) -> None:
    assert clean_typed_address(text).text == "ada@example.com"


def test_the_escapes_of_a_link_are_decoded() -> None:
    assert clean_typed_address("mailto:ada%2Bx@example.com").text == "ada+x@example.com"
    assert clean_typed_address("mailto:j%C3%B6rg@example.com").text == "jörg@example.com"
    assert clean_typed_address("a%2Bx@example.com").text == "a%2Bx@example.com"
    assert clean_typed_address('"a<b>"@example.com').text == '"a<b>"@example.com'
    assert clean_typed_address('A <"a<b>"@example.com>').text == '"a<b>"@example.com'


@pytest.mark.parametrize(
    "text",
    ["", "Ada", "Ada <>", "Ada <ada>", "<ada@example.com", "ada@example.com>", "<a@example.com> <b@example.com>",
     "mailto:", "mailto:a@example.com,b@example.com", "mailto:a%0A@example.com", "mailto:a%FF@example.com",
     "mailto:%00@example.com", "a@example.com <b", "<<a@example.com>>", "A <a@example.com\r\nBcc: b@example.com>",
     "A <a@example.com> x", "<" * 500],
)  # fmt: skip
def test_what_is_typed_and_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        clean_typed_address(text)


def test_millions_of_brackets_are_refused_in_no_time() -> None:
    start = time.process_time()
    for piece in ("<", ">", '"', "\\", "mailto:", "%", "a <"):
        for length in (500, 5_000_000):
            with pytest.raises(ValidationError):
                clean_typed_address(piece * (length // len(piece)) + "@example.com>")
    assert time.process_time() - start < 3


@pytest.mark.parametrize("domain", ["home.arpa", "mail.home.arpa", "HOME.ARPA", "a.b.home.arpa"])
def test_a_network_at_home_is_accepted(domain: str) -> None:
    assert clean_address(f"ada@{domain}").text == f"ada@{domain.lower()}"


@pytest.mark.parametrize(
    "domain", ["arpa", "in-addr.arpa", "xhome.arpa", "home.arpa.com.arpa", "a.invalid", "a.onion", "ａrpa"]
)
def test_other_special_names_are_refused(domain: str) -> None:
    for single_label in (False, True):
        with pytest.raises(ValidationError):
            clean_address(f"ada@{domain}", single_label=single_label)


@pytest.mark.parametrize("domain", ["mailhost", "Mail-Host2", "müller", "x"])
def test_a_domain_without_a_dot_is_accepted_where_the_setting_allows_it(domain: str) -> None:
    with pytest.raises(ValidationError, match="period"):
        clean_address(f"root@{domain}")
    assert clean_address(f"root@{domain}", single_label=True).text.startswith("root@")
    assert "." not in clean_address(f"root@{domain}", single_label=True).text


@pytest.mark.parametrize(
    "domain", ["invalid", "onion", "arpa", "1", "127", "0x7f000001", "-a", "a-", "a_b", "", "[x]", "a b"]
)
def test_a_domain_without_a_dot_has_to_be_a_name(domain: str) -> None:
    with pytest.raises(ValidationError):
        clean_address(f"root@{domain}", single_label=True)


@pytest.mark.parametrize("local", ["a..b", "a.", ".a", "..", "ä..b", "a.b..c."])
def test_who_has_dots_that_must_be_quoted_is_told_so(local: str) -> None:
    with pytest.raises(ValidationError, match=r"part before the @ .* must be quoted") as refused:
        clean_address(f"{local}@example.com")
    written = refused.value.message.rpartition(" ")[2]
    assert written == f'"{local}"@example.com' == clean_address(written).text


@pytest.mark.parametrize(
    "text", ["a@example..com", "a@.example.com", "a..b@example..com", "a..b @example.com", "a..@", '"a"..@x.de']
)
def test_other_faults_of_dots_have_their_own_message(text: str) -> None:
    with pytest.raises(ValidationError) as refused:
        clean_address(text)
    assert "quoted:" not in refused.value.message


@pytest.mark.parametrize(
    "text", ["Ada@Example.com", '"A b"@example.com', "JÖRG@münchen.de", "ΝΊΚΟΣ@example.com", "a@[127.0.0.1]"]
)
def test_a_stored_address_is_known_again(text: str) -> None:
    address = clean_address(text)
    assert stored_address(address.text) == address
