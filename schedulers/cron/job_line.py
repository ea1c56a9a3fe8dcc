"""Our own line of the crontab: written, checked and read with python-crontab, which sees no other line.

python-crontab rewrites what it reads, and even disables jobs that it does not understand. So it never gets the user's
lines, which `crontab_file` handles.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import shlex
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from schedulers.cron.crontab_file import BEGIN, END, CronError

# The limit of Debian's and the BSDs' cron. cronie accepts more, but a crontab may move.
_MAX_COMMAND_BYTES = 998

# Every shell that `SHELL=` may name takes a character after a backslash literally, and cron passes the backslash on
# (it removes the one before a %). Only `\\` is never written: Debian's cron turns two into one, others do not.
_UNSAFE = re.compile(r"[^A-Za-z0-9_@%+=:,./\u0080-\U0010ffff-]")


EVERY_MINUTE, EVERY_FIVE_MINUTES = "* * * * *", "*/5 * * * *"


class Job(NamedTuple):
    """The cron job of one installation: this Python runs the `task.py` of this folder.

    As a safety net, it sends only what the other scheduler has left.
    """

    python: Path
    folder: Path
    is_safety_net: bool = False

    @property
    def schedule(self) -> str:
        """The five fields for the time."""
        return EVERY_FIVE_MINUTES if self.is_safety_net else EVERY_MINUTE

    @property
    def command(self) -> str:
        """The command as the shell gets it from cron (in the crontab, each % has another backslash)."""
        words = [str(self.python), str(self.folder / "task.py")]
        ahead = "" if self.is_safety_net else " --ahead 60"
        return " ".join(_UNSAFE.sub(_escape, word) for word in words) + ahead


def line_of(job: Job) -> str:
    """Return the line that runs `job`, checked by reading it back. Raises CronError."""
    if "\n" in job.command:
        raise CronError("The path of this folder has a line break in it, which no crontab can hold.")
    item = _python_crontab().CronTab(tab="").new(command=job.command)
    item.setall(job.schedule)
    line = str(item.render())
    if len(os.fsencode(line)) - len(job.schedule + " ") > _MAX_COMMAND_BYTES:
        raise CronError(f"The path of this folder is too long: cron takes commands of {_MAX_COMMAND_BYTES} bytes.")
    if job_in(os.fsencode(line)) != job:
        raise CronError(f"This line would not be read as it was meant: {line}")
    return line


def block_of(job: Job) -> bytes:
    """Return all lines that `makecron.sh` puts into the crontab."""
    return BEGIN + os.fsencode(line_of(job)) + b"\n" + END


def job_in(block: bytes) -> Job | None:
    """Return the job in `block`; None if it is empty or was changed by hand."""
    jobs = [item for item in _python_crontab().CronTab(tab=os.fsdecode(block)) if item.is_enabled()]
    if len(jobs) != 1 or jobs[0].slices.render() not in (EVERY_MINUTE, EVERY_FIVE_MINUTES):
        return None
    try:
        python, script = shlex.split(jobs[0].command)[:2]
    except ValueError:
        return None
    return Job(Path(python), Path(script).parent, jobs[0].slices.render() == EVERY_FIVE_MINUTES)


def _escape(character: re.Match[str]) -> str:
    return r"'\'" if character[0] == "\\" else "\\" + character[0]


@functools.cache
def _python_crontab() -> ModuleType:
    """Load python-crontab by its file: rq-scheduler installs another module with the name `crontab`."""
    try:
        path = importlib.metadata.distribution("python-crontab").locate_file("crontab.py")
    except importlib.metadata.PackageNotFoundError:
        raise CronError(
            "python-crontab is not installed: run .venv/bin/python -m pip install -r requirements.txt"
        ) from None
    spec = importlib.util.spec_from_file_location("python_crontab", str(path))
    assert spec is not None and spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
