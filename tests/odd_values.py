"""Values that are not what they should be, for every way in."""

from __future__ import annotations

# fmt: off
EVENT_IDS = [
    "9223372036854775808", "-9223372036854775809", "1" + "0" * 400, "9" * 20_000, "1_000", "１２", "٣", "²",
    " 7", "7 ", "7\n", "\n7", "7\0", "1e3", "1e400", "1.0", "7,0", "0x10", "NaN", "Infinity", "true", "--7", "+",
]
TIMESTAMPS = [
    "soon", "2030-01-02", "2030-01-02 08:00", "2030-01-02T08:00:00", "2030-01-02  08:00:00", "2030-1-2 8:0:0",
    "2030-01-02 08:00:00\n", " 2030-01-02 08:00:00", "2030-01-02 08:00:00Z", "2030-01-02 08:00:00+09:00",
    "2030-01-02 08:00:00.5", "2030-02-30 08:00:00", "2023-02-29 08:00:00", "2030-13-01 08:00:00",
    "2030-01-02 24:00:00", "2030-01-02 08:60:00", "2030-01-02 08:00:60", "２０３０-01-02 08:00:00",
    "0000-01-01 00:00:00", "0001-01-01 00:00:00", "-030-01-02 08:00:00", "1893456000", "2030/01/02 08:00:00",
]
SUBJECTS = [
    "a\n", "a\r\nBcc: x@example.com", "a\rb", "a\vb", "a\fb", "a\tb", "a\x1b[31m", "\x7f", "\x85", "a\u2028b",
    "a\u2029b", "a\0b", "\ud800", "A =?UTF-8?Q?=0A?=Bcc: x", "=?utf-8?b?Cg==?=", "=?utf-8?b?Cg?=",
    "=?utf-8?B?C g?=", "=?utf-7?Q?+AAo-?=", "=?utf-16?B?AAo=?=", "=?x-unknown?q?=0d?=", "=?UTF-8*en?Q?a?b=0d?=",
    "=?utf-8?q?=00?=", "=??q?=0a?=", "=?zlib?b?Cg==?=", "=?utf-8?q?=e2=80=a8?=", "x" * 999, "ü" * 500,
]
ADDRESSES = [
    "", "@", "a", "a@", "@example.com", "a@b>\r\nRCPT TO:<c@d", "a@example.com SIZE=1", "<a@example.com>",
    "Jane <a@example.com>", "a@example.com,c@example.com", "a@b(<c@d>", "a(x)@example.com", "a@b@example.com",
    "x" * 65 + "@example.com", "a@" + "d" * 63 + ".de" * 80, "a" * 60 + "@" + ".".join(["d" * 60] * 4) + ".com",
    "a@example.com.", "a@example..com", "a@-example.com", "a..b@example.com", ".a@example.com", "a.@example.com",
    "a@example.com\n", "a@example.com\0", " a@example.com", "a@example.com ", "a\x7f@example.com",
    "a\tb@example.com", "a\u200bb@example.com", "\u202ea@example.com", "\ud800@example.com", "a@\ud800.com",
    '"a\nb"@example.com', '"a@example.com', 'a"b@example.com', "a@[300.1.1.1]", "a@[]", "a@1.2.3.4", "jane@gmail",
    "a@host.invalid", "a@exa mple.com", "a@" + "x" * 10_000_000, "a" * 10_000_000,
]
# fmt: on


def short(value: object) -> str:
    """The beginning of a value, as the name of its test."""
    return ascii(str(value)[:40])
