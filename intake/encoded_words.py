"""What the encoded words (RFC 2047) in a text decode to, as the most lenient of readers would decode them."""

from __future__ import annotations

import binascii
import re
from encodings import normalize_encoding
from encodings.aliases import aliases
from quopri import decodestring

# Looser than the standard: readers take words without spaces around them, with spaces and "?" inside.
WORD = re.compile(r"=\?([^?]*)\?([bBqQ])\?(.*?)\?=", re.DOTALL)
NOT_BASE64 = re.compile(r"[^A-Za-z0-9+/]")
LINE_ENDS = re.compile(b"[\x00\n\r]")
# Looked up in a table of our own: Python would try to import any other name, and keep it in memory for ever.
NO_CHARSETS = re.compile(r".*_codec|rot_13|mbcs|tactis")
CODECS = {name: codec for name, codec in aliases.items() if not NO_CHARSETS.fullmatch(codec)}
CODECS |= {codec: codec for codec in CODECS.values()}


def hidden_text(text: str) -> str:
    """The decoded form of all encoded words in `text`, one after the other."""
    return "".join(decode(*match.groups()) for match in WORD.finditer(text))


def decode(charset: str, encoding: str, word: str) -> str:
    """The text of one encoded word; bytes that end a line come out as such in every charset."""
    octets = decode_base64(word) if encoding in "bB" else decode_quoted(word)
    name = charset.partition("*")[0]  # RFC 2231: charset*language
    codec = CODECS.get(normalize_encoding(name).lower(), "latin-1")
    return octets.decode(codec, "replace") + "".join(map(chr, b"".join(LINE_ENDS.findall(octets))))


def decode_quoted(word: str) -> bytes:
    """The bytes of a word in Q encoding."""
    return decodestring(word.encode(), header=True)


def decode_base64(word: str) -> bytes:
    """The bytes of a word in B encoding, of one that is cut off or has other characters in it too."""
    letters = NOT_BASE64.sub("", word)
    whole = letters[: len(letters) - (len(letters) % 4 == 1)]
    return binascii.a2b_base64(whole + "=" * (-len(whole) % 4))
