"""Decode the encoded words (RFC 2047) in a text as the most lenient email clients do."""

from __future__ import annotations

import binascii
import re
from encodings import normalize_encoding
from encodings.aliases import aliases
from quopri import decodestring

# Looser than the standard: email clients accept words without spaces around them, and with spaces and "?" inside.
WORD = re.compile(r"=\?([^?]*)\?([bBqQ])\?(.*?)\?=", re.DOTALL)
NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
LINE_ENDS = re.compile(b"[\x00\n\r]")
# Our own table of names: Python would try to import any other name, and would keep it in memory forever.
NO_CHARSETS = re.compile(r".*_codec|rot_13|mbcs|tactis")
CODECS = {name: codec for name, codec in aliases.items() if not NO_CHARSETS.fullmatch(codec)}
CODECS |= {codec: codec for codec in CODECS.values()}


def hidden_text(text: str) -> str:
    """Return the decoded text of all encoded words in `text`, concatenated."""
    return "".join(decode(*match.groups()) for match in WORD.finditer(text))


def decode(charset: str, encoding: str, word: str) -> str:
    """Return the text of one encoded word. Bytes that end a line are kept as line ends in every charset."""
    octets = decode_base64(word) if encoding in "bB" else decode_quoted(word)
    name = charset.partition("*")[0]  # RFC 2231: charset*language
    codec = CODECS.get(normalize_encoding(name).lower(), "latin-1")
    return octets.decode(codec, "replace") + "".join(map(chr, b"".join(LINE_ENDS.findall(octets))))


def decode_quoted(word: str) -> bytes:
    """Return the bytes of a word in Q encoding."""
    return decodestring(word.encode(), header=True)


def decode_base64(word: str) -> bytes:
    """Return the bytes of a word in B encoding, even if it is truncated or contains invalid characters."""
    letters = NOT_BASE64.sub("", word)
    whole = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(whole + "=" * (-len(whole) % 4))
