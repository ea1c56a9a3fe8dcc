"""The argument of EHLO: a fully qualified domain name or an address literal, whatever the host is called."""

from __future__ import annotations

import pytest

from delivery.smtp.helo_name import address_literal, qualified_name


@pytest.mark.parametrize(
    "name", ["mail.example.com", "a.b", "xn--mnchen-3ya.example", "MX1.Example.COM", "1.2.3.4.example"]
)
def test_a_fully_qualified_name_is_sent(name: str) -> None:
    assert qualified_name(name) == name
    assert qualified_name(f"{name}.") == name


@pytest.mark.parametrize(
    "name",
    [
        "my_host.example.com",
        "web_1",
        "host",
        "",
        ".",
        "localhost",
        "localhost.localdomain",
        "localhost.example.com",
        "db.localdomain",
        "a.localhost",
        "-x.example.com",
        "x-.example.com",
        "x.-example.com",
        "a..example.com",
        ".example.com",
        "10.0.0.5",
        "example.123",
        "münchen.example",
        "a b.example",
        "a.example\r\nQUIT",
        "a.example\n",
        "x" * 64 + ".example",
        "x." * 127 + "example",
    ],
)
def test_no_other_name_is_sent(name: str) -> None:
    assert qualified_name(name) is None


def test_an_address_is_written_as_smtp_writes_it() -> None:
    assert address_literal("192.0.2.1") == "[192.0.2.1]"
    assert address_literal("2001:db8::1") == "[IPv6:2001:db8::1]"
    assert address_literal("fe80::1%eth0") == "[IPv6:fe80::1]"
