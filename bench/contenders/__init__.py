"""The programs that are compared: what each needs, and the command that is timed."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

BENCH = Path(__file__).resolve().parent.parent
LINE = 71  # octets of a line of the body, without its CR
BODY = ("y" * (LINE - 1) + "\n") * 14  # about 1 KB
SENDER = "club@example.com"


class Contender(ABC):
    """One way to send many messages."""

    key = ""  # on the command line
    name = ""
    slow = False  # gets fewer messages
    needs_packages = False  # those of bench/requirements.txt
    python = sys.executable  # the one that has them

    def prepare(self, folder: Path, messages: int) -> None:  # noqa: B027 - smtp-source needs nothing
        """Create in `folder` what a run starts with. Each run gets a copy. Not timed."""

    @abstractmethod
    def command(self, folder: Path, port: int, messages: int) -> list[str]:
        """Return the command that sends the messages. It is timed from its start to its exit."""

    def environment(self, folder: Path, port: int) -> Mapping[str, str]:
        """Return the environment of the command."""
        return {"PYTHONPATH": str(BENCH)}

    def check(self, folder: Path, messages: int) -> None:  # noqa: B027 - some say it by their exit code
        """Raise SystemExit if not everything was sent. Not timed."""


def address(number: int) -> str:
    return f"r{number}@example.com"


def letter(number: int) -> bytes:
    """Return the simplest possible message, ready to be sent."""
    head = f"From: {SENDER}\nTo: {address(number)}\nSubject: Subject\nMessage-ID: <{number}@example.com>\n\n"
    return (head + BODY).replace("\n", "\r\n").encode()
