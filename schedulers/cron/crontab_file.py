"""Read the user's crontab as bytes, and find and replace our block in it.

The crontab belongs to the user. Nothing outside our block is ever parsed, decoded or rewritten, so every other line
stays the same byte for byte. One byte may be added: a missing newline at the very end, which crontab(1) requires.
"""

from __future__ import annotations

import os
import re
import subprocess

try:
    import pwd
except ImportError:  # Windows, which has no crontab either
    pwd = None  # type: ignore[assignment]

BEGIN = b"# BEGIN email-endpoint (written by makecron.sh, which replaces all lines down to END)\n"
END = b"# END email-endpoint\n"

_MARKER = re.compile(rb"^# (BEGIN|END) email-endpoint(?: .*)?\r?$", re.MULTILINE)


class CronError(Exception):
    """Base class of the exceptions of the cron job. The text is for the user."""


class NoCrontabCommand(CronError):
    """This machine has no `crontab` command."""

    def __init__(self) -> None:
        super().__init__(
            "There is no crontab command. Install cron (Debian, Ubuntu: apt install cron; Fedora: "
            "dnf install cronie), or run ./start_flask.sh, which sends mail on time without it."
        )


class CrontabRefused(CronError):
    """The `crontab` command failed."""


class CrontabChanged(CronError):
    """Another program wrote the crontab at the same time."""


class BrokenBlock(CronError):
    """The markers of our block are not exactly one BEGIN followed by one END."""

    def __init__(self, lines: list[int]) -> None:
        where = " and ".join(str(line) for line in lines)
        super().__init__(
            f"The crontab must contain '# BEGIN email-endpoint' and then '# END email-endpoint' once each, or neither. "
            f"Found on line {where}. Nothing was changed. Fix it with crontab -e."
        )


def read() -> bytes:
    """Return the whole crontab, empty if the user has none. Raises CronError."""
    listed = _crontab("-l")
    if listed.returncode == 0:
        return _exact_bytes(listed.stdout)
    if listed.returncode > 0 and not listed.stdout and _says_there_is_none(listed.stderr):
        return b""
    raise CrontabRefused(f"Cannot read the crontab, so nothing was changed: {_error_text(listed)}")


def replace(old: bytes, new: bytes) -> None:
    """Replace `old` with `new`. A crontab cannot be locked, so it is read before and after. Raises CronError."""
    if read() != old:
        raise CrontabChanged("Another program changed the crontab just now. Nothing was written. Run this again.")
    # If nothing is left, remove the crontab. FreeBSD asks for confirmation.
    written = _crontab("-", new) if new else _crontab("-r", b"y\n")
    if written.returncode != 0:
        raise CrontabRefused(f"crontab rejected the new text, so nothing was changed: {_error_text(written)}")
    present = read()
    if present == new:
        return
    if present == old and written.stderr:  # busybox exits with 0 even after an error
        raise CrontabRefused(f"crontab rejected the new text, so nothing was changed: {_error_text(written)}")
    raise CrontabChanged("Another program wrote the crontab at the same time. Check crontab -l and run this again.")


def split_block(crontab: bytes) -> tuple[bytes, bytes]:
    """Return the crontab without our block, and the block, which is empty if there is none. Raises BrokenBlock."""
    marks = list(_MARKER.finditer(crontab))
    if not marks:
        return crontab, b""
    if [mark[1] for mark in marks] != [b"BEGIN", b"END"]:
        raise BrokenBlock([crontab.count(b"\n", 0, mark.start()) + 1 for mark in marks])
    start, end = marks[0].start(), marks[1].end() + 1
    return crontab[:start] + crontab[end:], crontab[start:end]


def append(crontab: bytes, block: bytes) -> bytes:
    """Return the crontab with `block` at the end, where variables set above apply to it and it affects no other job."""
    newline = b"" if crontab.endswith(b"\n") or not crontab else b"\n"
    return crontab + newline + block


def _exact_bytes(listed: bytes) -> bytes:
    r"""Return the exact bytes of a listed crontab. Debian's `crontab -l` prints a carriage return as `\r`.

    `crontab -e` passes the exact bytes to an editor. An editor that only prints them changes nothing.
    """
    if rb"\r" not in listed:
        return listed
    printed = _crontab("-e", VISUAL="cat", EDITOR="cat")
    if printed.returncode == 0 and _escape_returns(printed.stdout) == _escape_returns(listed):
        return printed.stdout
    raise CrontabRefused(f"Cannot read the crontab exactly, so nothing was changed: {_error_text(printed)}")


def _says_there_is_none(error: bytes) -> bool:
    """Return whether `crontab -l` failed because the user has no crontab yet."""
    if b"no crontab for" in error:
        return True
    try:
        user = os.fsencode(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return False
    return b"can't open '%s': No such file or directory" % user in error  # busybox (Alpine, OpenWrt)


def _escape_returns(crontab: bytes) -> bytes:
    return crontab.replace(b"\r", rb"\r")


def _crontab(option: str, text: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "LC_ALL": "C", **variables}  # otherwise "no crontab for" may be translated
    try:
        return subprocess.run(["crontab", option], input=text, env=environment, capture_output=True)
    except FileNotFoundError:
        raise NoCrontabCommand from None


def _error_text(process: subprocess.CompletedProcess[bytes]) -> str:
    text = " ".join(process.stderr.decode(errors="backslashreplace").split())
    return text or f"crontab exited with code {process.returncode} and printed nothing"
