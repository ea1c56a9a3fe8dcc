"""Compute what a disk holds after a power cut, from the system calls of a process as `strace` records them."""

from __future__ import annotations

import random
import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.installation import TASK, Installation

CALLS = "sendto,pwrite64,ftruncate,fsync,fdatasync"
LINE = re.compile(
    r"\d+ +(?P<name>\w+)\((?P<fd>\d+)<(?P<path>[^>]*)>(?:, \"(?P<data>[^\"]*)\")?(?:, (?P<a>\d+))?(?:, (?P<b>\d+))?"
    r".*\) += (?P<result>-?\d+)"
)


class Event(NamedTuple):
    """One successful system call."""

    name: str
    fd: int
    file: str  # its name without folders
    data: bytes  # the part that was written
    offset: int  # of a write; for a truncation, the new length


def traced(installation: Installation, trace: Path, program: Sequence[str] = TASK, calls: str = CALLS) -> list[Event]:
    """Run `program` until it exits, and return what it wrote, synced and sent, in order."""
    command = ["strace", "-f", "-y", "-xx", "-s", "10000000", "-o", str(trace), "-e", f"trace={calls}", *program]
    subprocess.run(command, env=installation.environment, cwd="/", check=True, timeout=60)
    return list(_events(trace.read_text()))


def _events(trace: str) -> Iterator[Event]:
    for line in _whole_lines(trace):
        match = LINE.match(line)
        if match and int(match["result"]) >= 0:
            data = _octets(match["data"] or "")[: int(match["result"])]
            offset = match["a"] if match["name"] == "ftruncate" else match["b"]
            yield Event(
                match["name"], int(match["fd"]), Path(_octets(match["path"]).decode()).name, data, int(offset or 0)
            )


def _whole_lines(trace: str) -> Iterator[str]:
    """Join a call that strace printed as two lines because of another thread. It takes effect at its second line."""
    begun: dict[str, str] = {}
    for line in trace.splitlines():
        thread, _, call = line.partition(" ")
        if call.endswith("<unfinished ...>"):
            begun[thread] = line.removesuffix("<unfinished ...>")
        elif " resumed>" in call:
            yield begun.pop(thread) + call.partition(" resumed>")[2]
        else:
            yield line


def _octets(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))


class Disk:
    """A disk: the synced contents of files, and the later writes to them."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self._synced = dict(files)
        self._unsynced: defaultdict[str, list[Event]] = defaultdict(list)

    def apply(self, event: Event) -> None:
        if event.name in ("pwrite64", "ftruncate"):
            self._unsynced[event.file].append(event)
        elif event.name in ("fsync", "fdatasync"):
            self._synced[event.file] = self._contents(event.file, self._unsynced.pop(event.file, []))

    def is_synced(self, file: str) -> bool:
        """Return whether all writes to the file have been synced."""
        return file in self._synced and not self._unsynced.get(file)

    def after_a_power_cut(self, luck: random.Random | None = None) -> dict[str, bytes]:
        """Return the files without the unsynced writes or, with `luck`, with a random half of them."""
        lucky = {
            file: [event for event in events if luck is not None and luck.random() < 0.5]
            for file, events in self._unsynced.items()
        }
        return {file: self._contents(file, lucky.get(file, [])) for file in {*self._synced, *lucky}}

    def _contents(self, file: str, events: list[Event]) -> bytes:
        octets = bytearray(self._synced.get(file, b""))
        for event in events:
            if event.name == "ftruncate":
                octets = octets[: event.offset]
            else:
                octets.extend(bytes(max(0, event.offset + len(event.data) - len(octets))))
                octets[event.offset : event.offset + len(event.data)] = event.data
        return bytes(octets)


class Wire:
    """What was sent on each connection, and which recipients' messages ended."""

    def __init__(self) -> None:
        self._sent: defaultdict[int, bytes] = defaultdict(bytes)

    def ends(self, event: Event) -> list[str]:
        """Return the recipients of messages whose final dot is in this call."""
        before = self._sent[event.fd].count(b"\r\n.\r\n")
        self._sent[event.fd] += event.data
        sent = self._sent[event.fd]
        recipients = re.findall(rb"RCPT TO:<([^>]*)>", sent)
        return [recipient.decode() for recipient in recipients[before : sent.count(b"\r\n.\r\n")]]
