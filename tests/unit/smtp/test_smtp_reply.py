"""SMTP replies: every sample in one piece, octet by octet, split at every place, and followed by others."""

from __future__ import annotations

import random

import pytest

from delivery.smtp.errors import ProtocolError
from delivery.smtp.reply import MAX_REPLY_BYTES, Reply, ReplyParser

SAMPLES: list[tuple[bytes, list[Reply]]] = [
    (b"250 ok\r\n", [Reply(250, ("ok",), "")]),
    (b"250\r\n", [Reply(250, ("",), "")]),
    (b"250 \r\n", [Reply(250, ("",), "")]),
    (b"250 ok\n", [Reply(250, ("ok",), "")]),
    (b"550 5.1.1 no such user\r\n", [Reply(550, ("5.1.1 no such user",), "5.1.1")]),
    (b"550 5.1.1\r\n", [Reply(550, ("5.1.1",), "5.1.1")]),
    (b"250 5.1.1 not ours\r\n", [Reply(250, ("5.1.1 not ours",), "")]),
    (b"250-a\r\n250-b\r\n250 c\r\n", [Reply(250, ("a", "b", "c"), "")]),
    (b"250-a\r\n250\r\n", [Reply(250, ("a", ""), "")]),
    (b"250 a\r\n354 b\r\n550 c\r\n", [Reply(250, ("a",), ""), Reply(354, ("b",), ""), Reply(550, ("c",), "")]),
    (b"250 caf\xc3\xa9 \xff\r\n", [Reply(250, ("café \\xff",), "")]),
    ("550 您的账号已被冻结\r\n".encode("gb18030"), [Reply(550, ("您的账号已被冻结",), "")]),
    ("550 Limit überschritten\r\n".encode("cp1252"), [Reply(550, ("Limit überschritten",), "")]),
    (b"250 a\x00\x1b[31m\rb\r\n", [Reply(250, ("a\\x00\\x1b[31m\\rb",), "")]),
]

MALFORMED = [
    b"\r\n",
    b"25\r\n",
    b"ok\r\n",
    b"999 what\r\n",
    b"150 early\r\n",
    b"2 50 ok\r\n",
    b"250+ok\r\n",
    b"\xb2\xb5\xb0 ok\r\n",
    b"250-a\r\n550 b\r\n",
    b"250-a\r\n\r\n",
]


def parse(pieces: list[bytes]) -> tuple[list[Reply], bool]:
    """Return the replies, and whether a malformed line ended the parsing."""
    parser, replies = ReplyParser(), []
    try:
        for piece in pieces:
            for reply in parser.feed(piece):
                replies.append(reply)
    except ProtocolError:
        return replies, True
    return replies, False


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"220-mx.example.com\r\n521 5.7.1 blocked\r\n", "220 and 521 5.7.1 blocked"),
        (b"250-a\r\n550-b\r\n250 c\r\n", "250 and 250 c"),
        (b"Welcome to mx\r\n554 5.7.1 go away\r\n", "Welcome to mx … 554 5.7.1 go away"),
        (b"Welcome\r\nto mx\r\n\r\n", "Welcome … to mx"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH-2.0-OpenSSH_9.6"),
    ],
)
def test_what_is_no_reply_is_quoted_up_to_its_last_line(data: bytes, words: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        list(ReplyParser().feed(data))
    assert str(caught.value).endswith(words)


def test_of_several_codes_of_one_kind_the_last_one_counts() -> None:
    (reply,) = ReplyParser().feed(b"550-5.7.1 first\r\n551-second\r\n553 5.1.3 third\r\n")
    assert (reply.code, reply.enhanced) == (553, "5.1.3")
    assert reply.text == "553 5.1.3 third"
    (reply,) = ReplyParser().feed(b"250-mx.example.com\r\n251 SIZE\r\n")
    assert (reply.code, reply.lines) == (251, ("mx.example.com", "SIZE"))


def all_cuts(data: bytes) -> list[list[bytes]]:
    singles = [data[i : i + 1] for i in range(len(data))]
    return [[data], singles, *([data[:cut], data[cut:]] for cut in range(1, len(data)))]


@pytest.mark.parametrize(("data", "expected"), SAMPLES)
def test_replies_are_the_same_however_they_arrive(data: bytes, expected: list[Reply]) -> None:
    for pieces in all_cuts(data):
        assert parse(pieces) == (expected, False)


@pytest.mark.parametrize(("data", "expected"), SAMPLES)
def test_what_follows_a_reply_waits_for_its_end(data: bytes, expected: list[Reply]) -> None:
    for trailing in (b"2", b"250-more", b"250 more\r"):
        assert parse([data + trailing]) == (expected, False)


@pytest.mark.parametrize("data", MALFORMED)
def test_a_malformed_line_is_a_protocol_error(data: bytes) -> None:
    for pieces in all_cuts(b"250 fine\r\n" + data + b"250 never seen\r\n"):
        assert parse(pieces) == ([Reply(250, ("fine",), "")], True)


@pytest.mark.parametrize("data", [b"250-x\r\n" * 1_000_000, b"250 " + b"x" * 10_000_000])
def test_a_reply_without_an_end_is_cut_off(data: bytes) -> None:
    parser = ReplyParser()
    with pytest.raises(ProtocolError, match="longer than"):
        for start in range(0, len(data), 16384):
            list(parser.feed(data[start : start + 16384]))
    assert start <= MAX_REPLY_BYTES + 16384


def test_a_long_reply_within_the_bound_is_read() -> None:
    assert len(parse([b"250-x\r\n" * 9000 + b"250 x\r\n"])[0][0].lines) == 9001


def test_the_text_of_a_reply_is_one_line_with_its_enhanced_code_once() -> None:
    reply = Reply(550, ("5.7.1 go", "5.7.1 away", ""), "5.7.1")
    assert reply.text == "550 5.7.1 go away"
    assert len(Reply(250, ("x" * 5000,), "").text) == 1000


def test_random_octets_give_replies_or_a_protocol_error_the_same_for_all_cuts() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    source = random.Random(seed)
    words = [b"250", b"354", b"550", b"-", b" ", b"\r\n", b"\n", b"\r", b"5.1.1", b"x", b"\x00", b"\xff"]
    for _ in range(20_000):
        data = b"".join(source.choices(words, k=source.randrange(12))) + source.randbytes(source.randrange(4))
        cut = source.randrange(len(data) + 1)
        assert parse([data]) == parse([data[:cut], data[cut:]])
