"""Bytes from the server -> replies (RFC 5321 section 4.2, RFC 2034).

Lines may end with LF alone, as every large client allows; apart from that the form is strict: three digits,
the first of them 2 to 5, then a space, a hyphen or nothing, and one code for all lines of a reply. What does
not fit is a ProtocolError, never skipped: with commands in flight, a skipped line would hand each later reply
to the wrong message.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from delivery.smtp.errors import ProtocolError
from intake.text import one_line

# A reply line has at most 512 octets by RFC 5321 and real replies a few lines. This bound is for servers
# that never stop (an EHLO of a million lines, a line without an end).
MAX_REPLY = 64 * 1024
MAX_SHOWN = 1000

_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")


class Reply(NamedTuple):
    """One reply: its code, the text of its lines, its enhanced status code or ''."""

    code: int
    lines: tuple[str, ...]
    enhanced: str

    @property
    def text(self) -> str:
        """The whole reply as one line for people; an enhanced code is said once."""
        first, *others = self.lines
        again = f"{self.enhanced} "
        shown = [first, *(line.removeprefix(again) if self.enhanced else line for line in others)]
        return f"{self.code} {' '.join(shown)}".rstrip()[:MAX_SHOWN]


def printable(raw: bytes) -> str:
    """What a server sent, fit for a log line: UTF-8 where it is, anything unprintable escaped."""
    text = raw.decode("utf-8", "backslashreplace")
    return text if text.isprintable() else one_line(text)


class ReplyParser:
    """Cuts what the server sends into replies, however the pieces arrive."""

    __slots__ = ("_buffer", "_code", "_lines", "_searched", "_size", "empty")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # no line ends before this: a line that trickles in is searched once
        self._code = 0
        self._lines: list[str] = []
        self._size = 0  # octets of the reply's lines so far
        self.empty = True  # between two replies, with nothing held back

    def feed(self, data: bytes) -> Iterator[Reply]:
        """The replies that `data` completes. Those before a malformed one are yielded before it raises."""
        self._buffer += data
        while (end := self._buffer.find(b"\n", self._searched)) >= 0:
            line = bytes(self._buffer[:end])
            del self._buffer[: end + 1]
            self._searched = 0
            self._measure(end + 1)
            reply = self._add(line.removesuffix(b"\r"))
            self.empty = reply is not None and not self._buffer
            if reply is not None:
                yield reply
        self.empty = self.empty and not self._buffer
        self._searched = len(self._buffer)
        self._measure(0)

    def _measure(self, taken: int) -> None:
        self._size += taken
        if self._size + (0 if taken else len(self._buffer)) > MAX_REPLY:
            raise ProtocolError(f"a reply of more than {MAX_REPLY} octets")

    def _add(self, line: bytes) -> Reply | None:
        code, mark = line[:3], line[3:4]
        if len(code) < 3 or not code.isdigit() or code[0] not in b"2345" or mark not in (b" ", b"-", b""):
            raise ProtocolError(f"no SMTP reply: {printable(line[:200])}")
        if self._lines and int(code) != self._code:
            raise ProtocolError(f"two codes in one reply: {self._code} and {int(code)}")
        self._code = int(code)
        self._lines.append(printable(line[4:]))
        return None if mark == b"-" else self._complete()

    def _complete(self) -> Reply:
        enhanced = _ENHANCED.match(self._lines[0])
        known = enhanced is not None and enhanced[0][0] == str(self._code)[0]
        reply = Reply(self._code, tuple(self._lines), enhanced[0] if enhanced and known else "")
        self._lines.clear()
        self._size = 0
        return reply
