"""Parse the bytes from the server into replies (RFC 5321, section 4.2; RFC 2034).

Lines may end with LF alone, as every widely used client allows. Otherwise the parser is strict: three digits, the first
of them 2 to 5, then a space, a hyphen or nothing. If the lines of a reply have different codes, the last one counts, as
long as all begin with the same digit. Anything else is a ProtocolError and is never skipped: with commands in flight,
skipping a line would assign every later reply to the wrong message. The error quotes the last line of the reply, or of
whatever the server sent instead of a greeting, because that is where a server says why it refuses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from delivery.smtp.errors import ProtocolError
from intake.text import one_line

# RFC 5321 allows 512 octets per reply line, and real replies have a few lines. This limit is for servers that never
# stop (an EHLO reply of a million lines, an endless line).
MAX_REPLY_BYTES = 64 * 1024
MAX_TEXT_LENGTH = 1000  # characters

_PAIRS = re.compile(rb"(?:[\x00-\x7f]|[\xa1-\xf7][\xa1-\xfe]){2,}", re.DOTALL)
_SINGLE = re.compile(rb"(?:[\x00-\x7f]|[\xc0-\xff](?=[a-zA-Z]))*", re.DOTALL)
_ENHANCED = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?=\s|$)")


class Reply(NamedTuple):
    """One reply: its code, the text of each line, and its enhanced status code or ''."""

    code: int
    lines: tuple[str, ...]
    enhanced: str

    @property
    def text(self) -> str:
        """The whole reply on one line, with its enhanced code only once, up to MAX_TEXT_LENGTH characters."""
        first, *others = self.lines
        repeated_code = f"{self.enhanced} "
        lines = [first, *(line.removeprefix(repeated_code) if self.enhanced else line for line in others)]
        return f"{self.code} {' '.join(lines)}".rstrip()[:MAX_TEXT_LENGTH]


def printable(raw: bytes) -> str:
    """Decode bytes from a server for a log line, with everything unprintable escaped.

    They are UTF-8 (RFC 6531), but old servers reply in GBK or Windows-1252, whose bytes come in pairs or alone.
    """
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        codec = "gb18030" if _PAIRS.fullmatch(raw) else "cp1252" if _SINGLE.fullmatch(raw) else "utf-8"
        text = raw.decode(codec, "backslashreplace")
    return text if text.isprintable() else one_line(text)


class ReplyParser:
    """Splits the bytes from the server into replies, however they are fragmented."""

    __slots__ = ("_buffer", "_code", "_first_code", "_greeted", "_lines", "_mixed", "_searched", "_size", "empty")

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._searched = 0  # no line ends before this offset, so a line that arrives in pieces is searched only once
        self._code = self._first_code = 0
        self._greeted = False  # whether there has been a reply
        self._mixed = False  # whether the codes of the lines so far begin with different digits
        self._lines: list[str] = []
        self._size = 0  # octets in the reply's lines so far
        self.empty = True  # whether the parser is between two replies, with nothing buffered

    def feed(self, data: bytes) -> Iterator[Reply]:
        """Yield the replies that `data` completes. Raises ProtocolError at the first malformed one."""
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
            raise ProtocolError(f"the reply is longer than {MAX_REPLY_BYTES} bytes")

    def _add_line(self, line: bytes) -> Reply | None:
        code, mark = line[:3], line[3:4]
        if len(code) < 3 or not code.isdigit() or code[0] not in b"2345" or mark not in (b" ", b"-", b""):
            raise ProtocolError(f"not an SMTP reply: {printable(line[:200])}{self._last_line()}")
        self._code = int(code)
        if not self._lines:
            self._first_code, self._mixed = self._code, False
        self._mixed = self._mixed or self._code // 100 != self._first_code // 100
        self._lines.append(printable(line[4:]))
        return None if mark == b"-" else self._complete()

    def _last_line(self) -> str:
        """Return the last complete line of what the server sent instead of a greeting, for the error message."""
        if self._greeted:
            return ""
        lines = [line.rstrip(b"\r") for line in bytes(self._buffer[:MAX_REPLY_BYTES]).split(b"\n")[:-1]]
        last = next((line for line in reversed(lines) if line), b"")
        return f" … {printable(last[:200])}" if last else ""

    def _complete(self) -> Reply:
        if self._mixed:
            last_line = f"{self._code} {self._lines[-1]}".rstrip()[:MAX_TEXT_LENGTH]
            raise ProtocolError(f"the reply has two codes, {self._first_code} and {last_line}")
        if self._code != self._first_code and self._code >= 400:
            del self._lines[:-1]  # the other lines are about a different refusal
        self._greeted = True
        enhanced = _ENHANCED.match(self._lines[0])
        matches_code = enhanced is not None and enhanced[0][0] == str(self._code)[0]
        reply = Reply(self._code, tuple(self._lines), enhanced[0] if enhanced and matches_code else "")
        self._lines.clear()
        self._size = 0
        return reply
