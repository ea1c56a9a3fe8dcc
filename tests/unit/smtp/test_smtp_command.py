"""SMTP commands: no value can escape its place in a command."""

from __future__ import annotations

import pytest

from delivery.errors import DeliveryError
from delivery.smtp import command
from delivery.smtp.errors import UnsendableValueError


def path(address: str, *, utf8: bool) -> bytes:
    """Return what is between the angle brackets of RCPT."""
    lines = command.EnvelopeCommands(utf8=utf8).lines("a@b.example", address, b".\r\n")
    return lines.split(b"\r\n")[1].removeprefix(b"RCPT TO:<").removesuffix(b">")


@pytest.mark.parametrize("octet", [*range(0x20), 0x7F])
@pytest.mark.parametrize("where", ["{}a@example.com", "a{}b@example.com", "a@exam{}ple.com", "a@example.com{}"])
def test_no_control_character_gets_into_a_path(octet: int, where: str) -> None:
    with pytest.raises(DeliveryError):
        path(where.format(chr(octet)), utf8=True)


@pytest.mark.parametrize("octet", [*range(0x20), 0x7F, 0x80, 0x2028])
def test_no_control_character_gets_into_a_line(octet: int) -> None:
    with pytest.raises(UnsendableValueError):
        command.ehlo(f"host{chr(octet)}.example")


@pytest.mark.parametrize(
    "address",
    [
        "a@b.example>\r\nRCPT TO:<c@d.example",
        "a@b.example SIZE=1",
        "a@b.example> NOTIFY=NEVER",
        "<a@b.example>",
        "a@b.example,c@d.example",
        "a@b.example(<c@d.example>",
        "a@b@c.example",
        "@a.example:b@c.example",
        "a",
        "@b.example",
        "a@",
        "",
        '"a"b"@c.example',
        "a@[127.0.0.1]>",
        "\ud800@b.example",
        "a\u2028b@c.example",
    ],
)
def test_what_is_not_one_mailbox_is_refused(address: str) -> None:
    with pytest.raises(DeliveryError):
        path(address, utf8=True)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("a@b.example", b"a@b.example"),
        ("o'brien+tag=x/y@b.example", b"o'brien+tag=x/y@b.example"),
        ('"a b"@c.example', b'"a b"@c.example'),
        (r'"a\"b"@c.example', rb'"a\"b"@c.example'),
        ("a@[127.0.0.1]", b"a@[127.0.0.1]"),
        ("a@münchen.example", b"a@xn--mnchen-3ya.example"),
        ("a@xn--mnchen-3ya.example", b"a@xn--mnchen-3ya.example"),
        ("jörg@münchen.example", "jörg@xn--mnchen-3ya.example".encode()),
    ],
)
def test_mailboxes_go_out_with_their_domain_as_a_labels(address: str, expected: bytes) -> None:
    assert path(address, utf8=True) == expected


def test_a_non_ascii_local_part_needs_smtputf8() -> None:
    with pytest.raises(UnsendableValueError, match="SMTPUTF8"):
        path("jörg@example.com", utf8=False)


def test_paths_have_the_lengths_of_rfc_5321() -> None:
    assert path("a" * 64 + "@b.example", utf8=False)
    assert path("a@" + "b" * 252, utf8=False)
    for address in ("a" * 65 + "@b.example", "a@" + "b" * 253):
        with pytest.raises(DeliveryError):
            path(address, utf8=False)


@pytest.mark.parametrize(
    ("largest", "eight_bit", "recipient", "parameters"),
    [
        (None, False, "c%d@d.example", b""),
        (12, False, "c%d@d.example", b" SIZE=12"),
        (12, True, "c%d@d.example", b" SIZE=12 BODY=8BITMIME"),
        (12, True, "ç@d.example", b" SIZE=12 BODY=8BITMIME SMTPUTF8"),
        (None, False, "ç@d.example", b" SMTPUTF8"),
    ],
)
def test_an_envelope_has_the_parameters_it_needs(
    largest: int | None, eight_bit: bool, recipient: str, parameters: bytes
) -> None:
    commands = command.EnvelopeCommands(largest, eight_bit=eight_bit, utf8=True)
    lines = commands.lines("a%d@b.example", recipient, "ä".encode() * 6 + b".\r\n")
    expected = b"MAIL FROM:<a%d@b.example>" + parameters + b"\r\nRCPT TO:<" + recipient.encode() + b">\r\nDATA\r\n"
    assert lines == expected


def test_login_lines() -> None:
    plain = [b"AUTH PLAIN AHVzZXIAcMOkc3N3b3Jk\r\n", b"AHVzZXIAcMOkc3N3b3Jk\r\n"]
    assert command.auth("PLAIN", "user", "pässword") == plain
    assert command.auth("LOGIN", "user", "a") == [b"AUTH LOGIN\r\n", b"dXNlcg==\r\n", b"YQ==\r\n"]


def test_a_login_too_long_for_one_command_goes_in_two_steps() -> None:
    for length in range(360, 380):
        first, answer = command.auth("PLAIN", "user", "x" * length)
        assert len(b"AUTH PLAIN " + answer) <= 512 or first == b"AUTH PLAIN\r\n"
        assert len(first) <= 512
    assert len(command.auth("PLAIN", "user", "x" * 9000)[1]) <= 12_288


def test_every_step_has_a_deadline() -> None:
    assert set(command.STEP_TIMEOUTS) == set(command.Step)
    assert all(seconds > 0 for seconds in command.STEP_TIMEOUTS.values())
