"""`tasklog.log`: one line for each finished email, and lines that start with ERROR or WARNING.

The file is opened for each write, so that it can be rotated at any time. Errors and warnings also go to stderr, which
cron mails to the user.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TextIO

from intake.text import one_line

CLEAR_LINE = "\r\033[K"


class TaskLog:
    """The log of a sender. `errors` is the number of errors reported so far."""

    def __init__(self, path: Path, stderr: TextIO | None = None) -> None:
        self._path = path
        self._stderr = stderr or sys.stderr
        # A process that was started with 2>&- has no stderr.
        self._at_terminal = self._stderr is not None and self._stderr.isatty()
        self.errors = 0

    def finished(self, event_ids: Iterable[int]) -> None:
        """Write a line for each finished email, durably. Raises OSError."""
        self._append("".join(f"{event_id}\n" for event_id in event_ids))

    def error(self, reason: str, event_id: int | None = None, address: str | None = None) -> None:
        """Report an error in the log and on stderr."""
        about = " ".join(str(part) for part in (event_id, address) if part is not None)
        line = one_line(f"ERROR {about}: {reason}" if about else f"ERROR {reason}")
        self._log(line)
        self._print_error(line)

    def repeat(self, reason: str) -> None:
        """Count an error that is already in the log. Print it only on a terminal: cron must not mail it again."""
        if self._at_terminal:
            self._print_error(one_line(f"ERROR {reason}"))
        else:
            self.errors += 1

    def warning(self, text: str) -> None:
        """Report a problem that does not stop the mail, in the log and on stderr."""
        line = one_line(f"WARNING {text}")
        self._log(line)
        self._print(line)

    def cannot_write(self, error: OSError) -> None:
        """Report that the log itself is not writable, and how to fix that."""
        remedy = "check its permissions and the disk, or set TASKLOG"
        self._print_error(f"ERROR cannot write {self._path}: {error.strerror} ({remedy})")

    def _log(self, line: str) -> None:
        try:
            self._append(f"{line}\n")
        except OSError as error:
            self.cannot_write(error)

    def _print_error(self, line: str) -> None:
        self.errors += 1
        self._print(line)

    def _print(self, line: str) -> None:
        with suppress(OSError):  # a closed terminal or a full disk must not stop the mail
            # On a terminal, the line replaces the progress bar, which reappears below it.
            print(CLEAR_LINE + line if self._at_terminal else line, file=self._stderr, flush=True)

    def _append(self, lines: str) -> None:
        descriptor = os.open(self._path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
        try:
            data = lines.encode()
            if os.write(descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            _sync(descriptor)
        finally:
            os.close(descriptor)


def _sync(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a pipe or a terminal cannot be synced
            raise
