"""`tasklog.log`: one line for each finished email, one that starts with ERROR for each error.

The file is opened for each line, so that it may be rotated at any time. Errors go to stderr too: cron mails
that to its user.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TextIO


class TaskLog:
    """The sender's log. `errors` counts what was reported."""

    def __init__(self, path: Path, stderr: TextIO | None = None) -> None:
        self._path = path
        self._stderr = stderr or sys.stderr
        self.errors = 0

    def finished(self, event_id: int) -> None:
        """Write the line of a finished email, durably. Raises OSError."""
        self._append(str(event_id))

    def error(self, reason: str, event_id: int | None = None, address: str | None = None) -> None:
        """Report an error, in the log and on stderr."""
        about = " ".join(str(part) for part in (event_id, address) if part is not None)
        line = one_line(f"ERROR {about}: {reason}" if about else f"ERROR {reason}")
        self.errors += 1
        print(line, file=self._stderr)
        try:
            self._append(line)
        except OSError as error:
            self.cannot_write(error)

    def cannot_write(self, error: OSError) -> None:
        """Report that the log itself cannot be written, with the remedy."""
        self.errors += 1
        remedy = "let this user write it, or set TASKLOG to another file"
        print(f"ERROR {self._path} cannot be written: {error.strerror} ({remedy})", file=self._stderr)

    def _append(self, line: str) -> None:
        descriptor = os.open(self._path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            os.write(descriptor, f"{line}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def one_line(text: str) -> str:
    """The text with everything escaped that could break a line, or a terminal that shows it."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else _escaped(character) for character in text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
