"""Bytes from the server -> replies (RFC 5321 section 4.2, RFC 2034).

Lines may end with LF alone, as every large client allows. Otherwise the form is strict: three digits, the first of
them 2 to 5, then a space, a hyphen or nothing, and one code for all lines of a reply. Anything else is a
ProtocolError and never skipped: with commands in flight, a skipped line would assign every later reply to the wrong
message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from delivery.smtp.errors import ProtocolError
from intake.text import one_line

# RFC 5321 allows a reply line 512 octets, and real replies have a few lines. This limit is for servers that never
# stop (an EHLO reply of a million lines, a line without an end).
MAX_REPLY_BYTES = 64 * 1024
MAX_TEXT_LENGTH = 1000  # characters

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")


class Reply(NamedTuple):
    """One reply: its code, the text of its lines, its enhanced status code or ''."""

    code: int
    lines: tuple[str, ...]
    enhanced: str

    @property
    def text(self) -> str:
        """The whole reply as one line for people, with an enhanced code only once."""
        first, *others = self.lines
        repeated_code = f"{self.enhanced} "
        lines = [first, *(line.removeprefix(repeated_code) if self.enhanced else line for line in others)]
        return f"{self.code} {' '.join(lines)}".rstrip()[:MAX_TEXT_LENGTH]


def printable(raw: bytes) -> str:
    """Decode what a server sent for a log line: as UTF-8, with everything unprintable escaped."""
    text = raw.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else one_line(text)


class ReplyParser:
    """Splits what the server sends into replies, however the bytes arrive."""

    __slots__ = ("_buffer", "_code", "_lines", "_searched", "_size", "empty")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # no line ends before this: a line that arrives in small pieces is searched only once
        self._code = 0
        self._lines: list[str] = []
        self._size = 0  # octets of the reply's lines so far
        self.empty = True  # between two replies, with nothing buffered

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Yield the replies that `data` completes; raise ProtocolError at the first malformed one."""
        self._buffer += data
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            self._check_size(end + 1)
            reply = self._add_line(line.removesuffix(b"\r"))
            self.empty = reply is not None and not self._buffer
            if reply is not None:
                yield reply
        self.empty = self.empty and not self._buffer
        self._searched = len(self._buffer)
        self._check_size(0)

    def _check_size(self, taken: int) -> None:
        self._size += taken
        if self._size + (0 if taken else len(self._buffer)) > MAX_REPLY_BYTES:
            raise ProtocolError(f"a reply of more than {MAX_REPLY_BYTES} octets")

    def _add_line(self, line: bytes) -> Reply | None:
        code, mark = line[:3], line[3:4]
        if len(code) < 3 or not code.isdigit() or code[0] not in b"2345" or mark not in (b" ", b"-", b""):
            raise ProtocolError(f"not an SMTP reply: {printable(line[:200])}")
        if self._lines and int(code) != self._code:
            raise ProtocolError(f"two codes in one reply: {self._code} and {int(code)}")
        self._code = int(code)
        self._lines.append(printable(line[4:]))
        return None if mark == b"-" else self._complete()

    def _complete(self) -> Reply:
        enhanced = _ENHANCED.match(self._lines[0])
        matches_code = enhanced is not None and enhanced[0][0] == str(self._code)[0]
        reply = Reply(self._code, tuple(self._lines), enhanced[0] if enhanced and matches_code else "")
        self._lines.clear()
        self._size = 0
        return reply
