"""Text -> header fields (RFC 5322) with encoded words (RFC 2047), folded.

Not `email.policy`: its folding takes 2 s for a long subject, and what it was given in the shape of an encoded
word goes out as one, line break and all (CVE-2024-6923). Here text that could be taken for one is encoded too,
so that whoever decodes a field gets exactly the text.
"""

from __future__ import annotations

import re
from binascii import b2a_base64
from collections.abc import Iterator

from delivery.errors import MessageError
from delivery.message.address import header_address

_LINE = 76  # octets: RFC 2047 allows no more in a line with an encoded word
_WORD = 60  # so that a word has room on a field's first line, beside its name
_PIECE = 39  # octets of text in an encoded word: 52 of base64, and 12 around them

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]*")


def check_text(what: str, text: str) -> None:
    """Raises MessageError for a control character, a line separator or half a surrogate pair."""
    if found := _FORBIDDEN.search(text):
        raise MessageError(f"the {what} holds U+{ord(found.group()):04X}, which no header may hold")


def field(name: str, words: list[bytes]) -> bytes:
    """`name: words`, folded between words."""
    lines = [name.encode("ascii") + b":"]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > _LINE and len(lines[-1]) > len(name) + 1:
            lines.append(b"")
        lines[-1] += b" " + word
    return b"\r\n".join(lines) + b"\r\n"


def text_words(text: str) -> list[bytes]:
    """Words of a field that is free text, such as Subject."""
    return text.encode("ascii").split(b" ") if _is_plain(text) else list(_encoded_words(text))


def mailbox_words(name: str, address: str) -> list[bytes]:
    """Words of a field that holds one mailbox, such as From."""
    if not name:
        return [header_address(address)]
    return [*_phrase_words(name), b"<" + header_address(address) + b">"]


def _is_plain(text: str) -> bool:
    """Whether a reader gets this very text when it is written as it is, and folded at its spaces."""
    return text.isascii() and "=?" not in text and all(0 < len(word) <= _WORD for word in text.split(" "))


def _phrase_words(name: str) -> list[bytes]:
    if not _is_plain(name) or len(name) > _WORD:
        return list(_encoded_words(name))
    if _ATOMS.fullmatch(name):
        return name.encode("ascii").split(b" ")
    return [b'"' + re.sub(rb'(["\\])', rb"\\\1", name.encode("ascii")) + b'"']


def _encoded_words(text: str) -> Iterator[bytes]:
    octets = text.encode("utf-8")
    start = 0
    while start < len(octets):
        end = start + _PIECE
        while end < len(octets) and octets[end] & 0xC0 == 0x80:  # never inside a character
            end -= 1
        yield b"=?UTF-8?B?" + b2a_base64(octets[start:end], newline=False) + b"?="
        start = end
