"""delivery/message/address.py: the To header for each kind of address, and addresses that are refused."""

from __future__ import annotations

import time

import idna
import pytest

from delivery.errors import MessageError
from delivery.message.address import ascii_domain, header_address

# fmt: off
NO_ADDRESSES = [
    "", "@", "ann", "ann@", "@example.org", "ann@b@c", "a b@c", "a,b@c", "<a@b>", "a@b(<c@d>", "a@b c", "a@b SIZE=1",
    "a@b>\r\nBcc: <c@d", "a@b\r\nBcc: c@d", "a\tb@c", "a\x7f@b", "a\x85b@c", "é\u2028@c", "é\u200b@c", "\u202eé@c",
    "\ud800@c", "a@\ud800", "a@é\n.c", "a@é..c", "a@é .c", '"a@b', '"a"b"@c', '"a\nb"@c', "a@[1.2]x", "a@[é]",
    "=?utf-8?q?=0A?=@c", '"=?utf-8?q?=0A?="@c', "a" * 320 + "@c", "é" * 160 + "@c", f"a@{'é' * 64}.c",
    "a@" + "é" * 10_000_000, "é" * 10_000_000, '"' + '\\"' * 5_000_000,
]
# fmt: on


@pytest.mark.parametrize(
    ("address", "wire"),
    [
        ("ann@example.org", "ann@example.org"),
        ("o'hara+tag=x@example.org", "o'hara+tag=x@example.org"),
        ("what?@example.org", "what?@example.org"),
        ('"a b"@example.org', '"a b"@example.org'),
        (r'"a\"b@c"@example.org', r'"a\"b@c"@example.org'),
        ("ann@[127.0.0.1]", "ann@[127.0.0.1]"),
        ("ann@[IPv6:::1]", "ann@[IPv6:::1]"),
        ("ann@münchen.de", "ann@xn--mnchen-3ya.de"),
        ("ann@例え。テスト", "ann@xn--r8jz45g.xn--zckzah"),
        ("jörg@münchen.de", "jörg@xn--mnchen-3ya.de"),
        ("用户@example.org", "用户@example.org"),
        ("a" * 64 + "@" + "b" * 255, "a" * 64 + "@" + "b" * 255),
    ],
)
def test_the_domain_is_in_a_labels_and_the_local_part_as_it_is(address: str, wire: str) -> None:
    assert header_address(address).decode() == wire


@pytest.mark.parametrize("address", NO_ADDRESSES, ids=lambda address: ascii(address[:20]))
def test_what_is_not_one_address_is_refused_at_once(address: str) -> None:
    begin = time.process_time()
    with pytest.raises(MessageError) as refused:
        header_address(address)
    assert time.process_time() - begin < 1
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "domain",
    ["münchen.de", "faß.de", "STRAßE.de", "βόλος.com", "نامه\u200cای.com", "ÖBB.at", "日本語。jp", "e\u0301t\u00e9.fr"],
)
def test_domains_are_those_of_idna_2008(domain: str) -> None:
    assert ascii_domain(domain).lower() == idna.encode(domain, uts46=True).decode()


def test_a_domain_of_idna_2003_alone_has_its_name_too() -> None:
    assert ascii_domain("💩.la") == "xn--ls8h.la"
