"""Subjects and contents that some email client has damaged, named after what is unusual about them."""

from __future__ import annotations

from typing import NamedTuple


class Letter(NamedTuple):
    subject: str
    content: str


LETTERS = {
    "plain": Letter("Hello", "Hello.\n"),
    "no line end": Letter("100 % of %s, {0.__class__}, {{7*7}}", "100 % of %s, {0.__class__}, {{7*7}}"),
    "empty lines": Letter(" two  spaces ", "\n\n\n"),
    "a message within": Letter("From: x@example.com", "a\n.\nMAIL FROM:<x@example.com>\n.\r\nQUIT\r\n"),
    "dots": Letter("...", ".\n..\n.x\n\n.\r\n.\n..."),
    "only dots": Letter(".", "." * 5_000),
    "lone CR around a dot": Letter("\\r.\\r", "a\r.\rb"),
    "LF before a dot, CRLF behind": Letter("\\n.\\r\\n", "a\n.\r\nb"),
    "CRLF before a dot, LF behind": Letter("\\r\\n.\\n", "a\r\n.\nb"),
    "CR CRLF on both sides of a dot": Letter("\\r\\r\\n.\\r\\r\\n", "a\r\r\n.\r\r\nb"),
    "every line end": Letter("=0D=0A", "CR \r LF \n CRLF \r\n LFCR \n\r end"),
    "spaces and tabs at line ends": Letter("a" + " " * 80 + "b", "two  \ntab\t\n \n\t\n \t \nend "),
    "a long ASCII line": Letter("a" * 998, "x" * 5_000),
    "a long word in a text": Letter("word " * 190 + "end", ("." + "y" * 75) * 40 + "\nafter it\n"),
    "a long line of CJK": Letter("你好" * 166, "你" * 5_000),
    "a long line of emoji": Letter("😀" * 249, "😀" * 5_000),
    "998 octets": Letter("b" * 77, "x" * 998 + "\n" + "x" * 999 + "\n" + "." * 998),
    "Unicode": Letter("Grüße 你好 😀", "Grüße\n你好\n😀\n"),
    "Unicode after a dot": Letter("é", ".é\n.\n..你\n"),
    "combining, right to left, invisible": Letter(
        "e\u0301 \u202egnp.exe \u200b\ufeff\xa0", "\ufeffe\u0301 \u202eabc\n"
    ),
    "control characters": Letter("(see inside)", "next\x85line \u2028 \u2029 \x0b \x0c \x1c \x7f \x1b[31m\n"),
    "an encoded word that hides a Bcc": Letter("A =?UTF-8?Q?=0A?=Bcc: injected@example.com", "=?UTF-8?Q?=0A?=Bcc: x\n"),
    "an encoded word": Letter("=?utf-8?b?SGVsbG8=?=", "=?utf-8?b?SGVsbG8=?=\n"),
    "quoted-printable": Letter("=3D =?= ?= =?", "=41 =\n=3D soft=\nbreak é " + "=" * 80),
    "what mailboxes separate messages by": Letter(
        "From ", "From the start\n>From\n\nFrom x@example.com\n-- \nsignature"
    ),
    "a boundary": Letter("--", "--=_0\nContent-Type: text/html\n\n--=_0--\n"),
    "HTML with a doctype": Letter(
        "HTML", "<!doctype HTML>\n<html><body>\n.<p>Grüße <a href='https://example.com/?a=1&amp;b=2'>hier</a>\n.\n"
    ),
    "HTML without a doctype": Letter("HTML, <b>bold</b>", "<HTML lang=en><p>" + "x" * 2_000 + "</p>\r\r\n.\r\n</HTML>"),
    "HTML in a text": Letter("no HTML", "<p>Not a page, so it is shown as it is.</p>\n"),
}
