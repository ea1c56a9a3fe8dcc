"""Obey or refuse the encodings that a client declares: charsets and Content-Transfer-Encodings.

A charset can be declared for a whole request (a parameter of its Content-Type), for one part of multipart/form-data
(RFC 7578, 4.5), and by a field named `_charset_` for all parts and pairs without their own (RFC 7578, 4.6; HTML,
"form submission"). RFC 7578, 4.7 deprecates the Content-Transfer-Encoding of a part, but some clients send it.
None is ignored, because recipients would then read the encoded text.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable
from urllib.parse import unquote

UTF_8 = "utf-8"
CHARSET_FIELD = "_charset_"
MAX_LABEL_LENGTH = 40  # characters

_LATIN = {f"iso8859{number}": f"iso8859_{number}" for number in (*range(1, 12), *range(13, 17))}
_CODECS = {
    **dict.fromkeys(("utf8", "csutf8", "unicode11utf8", "unicode20utf8", "xunicode20utf8"), UTF_8),
    **dict.fromkeys(("usascii", "ascii", "csascii", "us", "646", "iso646us", "iso646irv1991", "isoir6"), "ascii"),
    **dict.fromkeys(("ansix341968", "ansix341986", "ibm367", "cp367"), "ascii"),
    **_LATIN,
    **dict.fromkeys(("latin1", "l1", "csisolatin1", "isoir100", "ibm819", "cp819"), "iso8859_1"),
    **dict.fromkeys(("latin2", "l2", "csisolatin2"), "iso8859_2"),
    **dict.fromkeys(("latin9", "l9"), "iso8859_15"),
    **{name: f"cp125{digit}" for digit in range(9) for name in (f"windows125{digit}", f"cp125{digit}")},
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    **dict.fromkeys(("shiftjis", "sjis", "mskanji", "csshiftjis", "windows31j", "xsjis"), "cp932"),
    **dict.fromkeys(("eucjp", "cseucpkdfmtjapanese", "xeucjp"), "euc_jp"),
    **dict.fromkeys(("iso2022jp", "csiso2022jp"), "iso2022_jp"),
    **dict.fromkeys(("euckr", "cseuckr", "ksc56011987"), "cp949"),
    **dict.fromkeys(("gb18030", "gbk", "gb2312", "csgb2312", "cp936"), "gb18030"),
    **dict.fromkeys(("big5", "csbig5"), "big5"),
}
_CODECS_OF_C1 = frozenset(_LATIN.values())  # browsers and email clients decode these bytes as windows-125x
_C1 = re.compile("[\x80-\x9f]")

_SEPARATORS = re.compile("[-_:. ]")
_PARAMETER = re.compile(r""";\s*+([^=;\s"]++)\s*+=\s*+("(?:[^"\\]|\\.)*+"|[^;]*+)""", re.DOTALL)
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)++"', re.DOTALL)
_MISWRITTEN = re.compile(
    r"""[;,\s]charset\**\s*+[=:]\s*+[^;\s"]""", re.IGNORECASE
)  # without a semicolon, or with a colon
_COMMENT_TOKEN = re.compile(r"""("(?:[^"\\]|\\.)*+")|\\.|([()])""", re.DOTALL)
_BAD_ESCAPE = re.compile(rb"=(?![0-9A-Fa-f]{2})")
_WHITE_SPACE = b" \t\r\n"


class DeclaredEncodingError(ValueError):
    """A declaration cannot be obeyed. The message continues a sentence that starts with the field name."""


def declared_codec(content_type: str) -> str | None:
    """Return the Python codec for the charset that a Content-Type declares, or None. Raises DeclaredEncodingError."""
    return codec_of(_charsets(content_type)) if ";" in content_type or " " in content_type else None


def codec_of(labels: Iterable[str]) -> str | None:
    """Return the codec that all these labels name, or None without labels. Raises DeclaredEncodingError."""
    codecs = {_codec(label) for label in labels}
    if len(codecs) > 1:
        raise DeclaredEncodingError("declares more than one charset")
    return codecs.pop() if codecs else None


def decode_text(octets: bytes, codec: str) -> str:
    """Decode with a codec of this module. Raises DeclaredEncodingError."""
    try:
        text = octets.decode(codec)
    except UnicodeDecodeError:
        raise DeclaredEncodingError("is not UTF-8" if codec == UTF_8 else _not_in(codec)) from None
    if codec in _CODECS_OF_C1 and _C1.search(text):
        raise DeclaredEncodingError(f"{_not_in(codec)}; it may be windows-1252 or similar")
    return text


def decode_transfer(octets: bytes, encodings: Iterable[str]) -> bytes:
    """Undo the Content-Transfer-Encoding (RFC 2045, 6) that a part declares. Raises DeclaredEncodingError."""
    names = {_without_comments(encoding).strip().lower() for encoding in encodings} - {""}
    if len(names) > 1:
        raise DeclaredEncodingError("has more than one Content-Transfer-Encoding")
    match names.pop() if names else "binary":
        case "7bit" | "8bit" | "binary":
            return octets
        case "quoted-printable":
            return _decode_quoted_printable(octets)
        case "base64":
            return _decode_base64(octets)
        case name:
            raise DeclaredEncodingError(f"has an unknown Content-Transfer-Encoding ({name[:MAX_LABEL_LENGTH]!a})")


def _not_in(codec: str) -> str:
    return f"is not in the declared charset ({codec})"


def _codec(label: str) -> str:
    codec = _CODECS.get(_SEPARATORS.sub("", label.lower()))
    if codec is None:
        shown = ascii(label[:MAX_LABEL_LENGTH])
        raise DeclaredEncodingError(f"declares the charset {shown}, which is not supported; send UTF-8")
    return codec


def _charsets(content_type: str) -> list[str]:
    """Return each declared charset, including the forms of RFC 2231: `charset*=…`, `charset*0=…`."""
    charsets = []
    segments = []
    plain = _without_comments(content_type)
    for match in _PARAMETER.finditer(plain):
        name, value = match[1].lower(), _unquoted(match[2].strip())
        if name == "charset":
            charsets.append(value)
        elif name.startswith("charset*"):
            is_extended = name.endswith("*")
            segments.append(unquote(value.split("'", 2)[-1]) if is_extended else value)
    found = [charset for charset in (*charsets, "".join(segments)) if charset]
    if not found and _MISWRITTEN.search(_QUOTED.sub("x", plain)):
        raise DeclaredEncodingError("declares a charset in a way that cannot be read")
    return found


def _unquoted(value: str) -> str:
    if value.startswith('"'):
        value = re.sub(r"\\(.)", r"\1", value.strip('"'))
    return value.strip(" \t'")


def _without_comments(value: str) -> str:
    """Remove comments in parentheses, which may be nested (RFC 2045, 5.1)."""
    if "(" not in value:
        return value
    kept = []
    depth = position = 0
    for match in _COMMENT_TOKEN.finditer(value):
        if match[2] == "(":
            if not depth:
                kept.append(value[position : match.start()])
            depth += 1
        elif match[2] == ")" and depth:
            depth -= 1
            position = match.end()
    return "".join(kept) + ("" if depth else value[position:])


def _decode_base64(octets: bytes) -> bytes:
    try:
        return binascii.a2b_base64(octets.translate(None, _WHITE_SPACE), strict_mode=True)
    except binascii.Error:
        raise DeclaredEncodingError("is not valid base64, although its Content-Transfer-Encoding says so") from None


def _decode_quoted_printable(octets: bytes) -> bytes:
    pieces: list[bytes] = []
    for line in octets.split(b"\n"):
        text = line.rstrip(b" \t\r")  # trailing whitespace was added in transit (RFC 2045, 6.7, rule 3)
        is_soft = text.endswith(b"=")
        text = text[: len(text) - is_soft]
        if _BAD_ESCAPE.search(text):
            raise DeclaredEncodingError("is not valid quoted-printable, although its Content-Transfer-Encoding says so")
        pieces += (text, b"" if is_soft else b"\r\n" if line.endswith(b"\r") else b"\n")
    return binascii.a2b_qp(b"".join(pieces[:-1]))
