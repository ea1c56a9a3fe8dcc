"""The user's crontab as bytes: read it, find our block in it, replace it.

It belongs to the user. Whatever stands outside our block is never parsed, decoded or rewritten, so it comes
back byte for byte. One byte can be added: a newline that is missing at the very end, since crontab(1) refuses
a text without it (and could not be given the old text back when the block is removed).
"""

from __future__ import annotations

import os
import re
import subprocess

BEGIN = b"# BEGIN email-endpoint (written by makecron.sh, which replaces all lines down to END)\n"
END = b"# END email-endpoint\n"

_MARK = re.compile(rb"^# (BEGIN|END) email-endpoint(?: .*)?\r?$", re.MULTILINE)


class CronError(Exception):
    """Base of everything that goes wrong with the cron job; its text is for the user."""


class NoCrontabCommand(CronError):
    """This machine has no `crontab` command."""

    def __init__(self) -> None:
        super().__init__(
            "There is no crontab command here: install cron (Debian, Ubuntu: apt install cron; Fedora: "
            "dnf install cronie), or run ./start_flask.sh, which sends mail on time without it."
        )


class CrontabRefused(CronError):
    """`crontab` did not do what it was asked to."""


class CrontabChanged(CronError):
    """Something else wrote the crontab at the same moment."""


class BrokenBlock(CronError):
    """The lines that mark our block are not one BEGIN and, after it, one END."""

    def __init__(self, lines: list[int]) -> None:
        where = " and ".join(str(line) for line in lines)
        super().__init__(
            f"The lines '# BEGIN email-endpoint' and '# END email-endpoint' must stand in the crontab "
            f"once each, or not at all, but line {where} has one. Nothing was changed: mend it with crontab -e."
        )


def read() -> bytes:
    """The whole crontab; empty when the user has none."""
    listed = _crontab("-l")
    if listed.returncode == 0:
        return _exact(listed.stdout)
    if listed.returncode == 1 and b"no crontab for" in listed.stderr:
        return b""
    raise CrontabRefused(f"The crontab cannot be read, so nothing was changed: {_said(listed)}")


def replace(old: bytes, new: bytes) -> None:
    """Write `new` where `old` was read. No lock exists between the two, so both are read again around it."""
    if read() != old:
        raise CrontabChanged("Something else changed the crontab just now. Nothing was written: run this again.")
    # Nothing left: no crontab, as before. FreeBSD's asks whether it should.
    written = _crontab("-", new) if new else _crontab("-r", b"y\n")
    if written.returncode != 0:
        raise CrontabRefused(f"crontab refused the new text, so nothing was changed: {_said(written)}")
    if read() != new:
        raise CrontabChanged("Something else wrote the crontab at the same moment: see crontab -l, run this again.")


def cut(crontab: bytes) -> tuple[bytes, bytes]:
    """The crontab without our block, and the block, which is empty when there is none."""
    marks = list(_MARK.finditer(crontab))
    if not marks:
        return crontab, b""
    if [mark[1] for mark in marks] != [b"BEGIN", b"END"]:
        raise BrokenBlock([crontab.count(b"\n", 0, mark.start()) + 1 for mark in marks])
    start, end = marks[0].start(), marks[1].end() + 1
    return crontab[:start] + crontab[end:], crontab[start:end]


def append(crontab: bytes, block: bytes) -> bytes:
    """The crontab with `block` at its end: the variables above apply to it, and it sets none for others."""
    newline = b"" if crontab.endswith(b"\n") or not crontab else b"\n"
    return crontab + newline + block


def _exact(listed: bytes) -> bytes:
    r"""The bytes behind what was listed: Debian's `crontab -l` shows a carriage return as `\r`.

    Its `crontab -e` hands the bytes as they are to an editor; one that only prints them changes nothing.
    """
    if rb"\r" not in listed:
        return listed
    printed = _crontab("-e", VISUAL="cat", EDITOR="cat")
    if printed.returncode == 0 and _shown(printed.stdout) == _shown(listed):
        return printed.stdout
    raise CrontabRefused(f"The crontab cannot be read exactly, so nothing was changed: {_said(printed)}")


def _shown(crontab: bytes) -> bytes:
    return crontab.replace(b"\r", rb"\r")


def _crontab(option: str, text: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "LC_ALL": "C", **variables}  # "no crontab for" is translated elsewhere
    try:
        return subprocess.run(["crontab", option], input=text, env=environment, capture_output=True)
    except FileNotFoundError:
        raise NoCrontabCommand from None


def _said(process: subprocess.CompletedProcess[bytes]) -> str:
    said = " ".join(process.stderr.decode(errors="backslashreplace").split())
    return said or f"crontab ended with {process.returncode} and said nothing"
