"""Turn text into folded header fields (RFC 5322) with encoded words (RFC 2047).

This does not use `email.policy`, whose folding takes 2 s for a long subject, and which lets text that looks like an
encoded word through, line breaks included (CVE-2024-6923). Here such text is encoded, so that decoding a field returns
exactly the original text.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterator

from delivery.errors import MessageError
from delivery.lazy_pattern import LazyPattern
from delivery.message.address import header_address

MAX_LINE_LENGTH = 76  # octets: the limit for a line with an encoded word (RFC 2047, section 2)
MAX_WORD_LENGTH = 60  # octets: short enough for the first line of a field, after its name
ENCODED_WORD_BYTES = 39  # bytes of text in an encoded word: 52 characters of base64, plus 12 of syntax

_FORBIDDEN = LazyPattern("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")


def check_text(what: str, text: str) -> None:
    """Raise MessageError if `text` has a control character, a line separator or a lone surrogate.

    `what` names the text in the error message.
    """
    if text.isascii() and text.isprintable():
        return
    if forbidden := _FORBIDDEN.search(text):
        raise MessageError(f"the {what} contains U+{ord(forbidden.group()):04X}, which is not allowed in a header")


def field(name: str, words: list[bytes]) -> bytes:
    """Return `name: words`, folded between words."""
    lines = [name.encode("ascii") + b":"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > MAX_LINE_LENGTH and len(lines[-1]) > len(name) + 1:
            lines.append(b"")
        lines[-1] += b" " + word
    return b"\r\n".join(lines) + b"\r\n"


def text_words(text: str) -> list[bytes]:
    """Return the words of a free-text field, such as Subject, for `field`."""
    return text.encode("ascii").split(b" ") if _is_plain(text) else list(_encoded_words(text))


def mailbox_words(name: str, address: str) -> list[bytes]:
    """Return the words of a field with one mailbox, such as From, for `field`."""
    if not name:
        return [header_address(address)]
    return [*phrase_words(name), b"<" + header_address(address) + b">"]


def phrase_words(name: str) -> list[bytes]:
    """Return the words of a display name, for `field`."""
    if not _is_plain(name) or len(name) > MAX_WORD_LENGTH:
        return list(_encoded_words(name))
    if _ATOMS.fullmatch(name):
        return name.encode("ascii").split(b" ")
    return [b'"' + re.sub(rb'(["\\])', rb"\\\1", name.encode("ascii")) + b'"']


def _is_plain(text: str) -> bool:
    """Return whether this text survives decoding if it is written unencoded and folded at its spaces."""
    return text.isascii() and "=?" not in text and all(0 < len(word) <= MAX_WORD_LENGTH for word in text.split(" "))


def _encoded_words(text: str) -> Iterator[bytes]:
    octets = text.encode("utf-8")
    start = 0
    while start < len(octets):
        end = start + ENCODED_WORD_BYTES
        while end < len(octets) and octets[end] & 0xC0 == 0x80:  # do not split a character
            end -= 1
        yield b"=?UTF-8?B?" + b2a_base64(octets[start:end], newline=False) + b"?="
        start = end
