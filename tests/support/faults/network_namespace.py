"""A second host on this machine: a network namespace with links that can be cut one by one."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Self

POSSIBLE = os.name == "posix" and os.geteuid() == 0 and shutil.which("ip") is not None

NUMBERS = range(64, 250)  # networks 10.NUMBER.*.*; several tests can use one each at the same time


class SecondHost:
    """A host that reaches this one at `near(link)` over each of its links, numbered from 0. Needs root."""

    def __init__(self, links: int = 2) -> None:
        self._number = 0
        self._links = range(links)

    def __enter__(self) -> Self:
        self._number = next(number for number in NUMBERS if _is_free(number))
        for link in self._links:
            near, far = self._device(link), f"{self._device(link)}far"
            _ip("link", "add", near, "type", "veth", "peer", "name", far)
            _ip("link", "set", far, "netns", self._name)
            _ip("address", "add", f"{self.near(link)}/24", "dev", near)
            _ip("link", "set", near, "up")
            _ip("-n", self._name, "address", "add", f"10.{self._number}.{link}.2/24", "dev", far)
            _ip("-n", self._name, "link", "set", far, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for link in self._links:
            _ip("link", "delete", self._device(link))
        _ip("netns", "delete", self._name)

    def near(self, link: int) -> str:
        """Return this host's address on that link."""
        return f"10.{self._number}.{link}.1"

    def command(self, *command: str) -> list[str]:
        """Return a command line that runs `command` on the second host."""
        return ["ip", "netns", "exec", self._name, *command]

    def cut(self, link: int) -> None:
        """Drop all packets on the link. Neither side is notified."""
        _ip("link", "set", self._device(link), "down")

    def restore(self, link: int) -> None:
        """Restore the link."""
        _ip("link", "set", self._device(link), "up")

    @property
    def _name(self) -> str:
        return _name(self._number)

    def _device(self, link: int) -> str:
        return f"t{self._number}l{link}"


def _name(number: int) -> str:
    return f"second{number}"


def _is_free(number: int) -> bool:
    """Reserve this number. Return False if another test has it."""
    return subprocess.run(["ip", "netns", "add", _name(number)], stderr=subprocess.DEVNULL, check=False).returncode == 0


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, stdin=subprocess.DEVNULL)
