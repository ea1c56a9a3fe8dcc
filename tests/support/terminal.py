"""A program in a terminal of 80 columns (a pseudo-terminal), as a person would use it."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

COLUMNS, ROWS = 80, 24
# The terminal becomes the one that the program is controlled by, so that it can ask for a password and gets Ctrl-C.
_STARTED = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Terminal:
    """`with Terminal(command, folder, environment)`: the program is killed at the end, if it has not exited."""

    def __init__(self, command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> None:
        self.output = ""
        self._command = [sys.executable, "-c", _STARTED, *command]
        self._folder = folder
        self._environment = {"TERM": "xterm", "LANG": "C.UTF-8", **environment}
        self._read = 0  # characters of the output that `expect` has returned

    def __enter__(self) -> Self:
        self._terminal, end = os.openpty()
        termios.tcsetwinsize(self._terminal, (ROWS, COLUMNS))
        self._process = subprocess.Popen(
            self._command,
            cwd=self._folder,
            env=self._environment,
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
        )
        os.close(end)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._terminal)

    def expect(self, text: str) -> str:
        """Wait until the program has printed this, and return what it has printed since the last call."""
        while True:
            found = self.output.find(text, self._read)
            if found >= 0:
                start, self._read = self._read, found + len(text)
                return self.output[start : self._read]
            assert self._receive(), f"{text!r} did not come:\n{self.output}"

    def enter(self, text: str) -> None:
        """Type a line."""
        self.press(f"{text}\n")

    def press(self, keys: str) -> None:
        """Type these characters. Ctrl-C is \\x03."""
        os.write(self._terminal, keys.encode())

    def shows_what_is_typed(self) -> bool:
        """Return whether the terminal echoes, as it does except while a password is typed."""
        return bool(termios.tcgetattr(self._terminal)[3] & termios.ECHO)

    def wait(self) -> int:
        """Wait until the program exits, and return its exit code."""
        while self._receive():
            pass
        return self._process.wait(timeout=60)

    def lines(self) -> list[str]:
        """Return everything on the screen and above it, without colours."""
        return _COLOUR.sub("", self.output).replace("\r\n", "\n").split("\n")

    def _receive(self) -> bool:
        """Wait for output. Return False if there will be no more."""
        poll = select.poll()
        poll.register(self._terminal, select.POLLIN)
        assert poll.poll(60_000), f"nothing for a minute:\n{self.output}"
        try:
            received = os.read(self._terminal, 65536)
        except OSError:  # EIO: the program has closed its end
            received = b""
        self.output += received.decode()
        return bool(received)
