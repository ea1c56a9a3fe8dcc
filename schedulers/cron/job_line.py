"""Our own line of the crontab: made, checked and read by python-crontab, which sees no other line.

python-crontab rewrites what it reads, and even switches off jobs that it does not understand. That is why it
is kept away from the user's lines, which `crontab_file` handles.
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

# Debian's and the BSDs' cron take no longer command; cronie does, but a crontab may move.
_LONGEST_COMMAND = 998

# A backslash before it makes any character of a path plain to every shell that `SHELL=` may name, and cron leaves
# it there (it takes away the one before a %). Only `\\` is never written: Debian's cron makes one of two, others not.
_UNSAFE = re.compile(r"[^A-Za-z0-9_@%+=:,./\u0080-\U0010ffff-]")


EVERY_MINUTE, EVERY_FIVE_MINUTES = "* * * * *", "*/5 * * * *"


class Job(NamedTuple):
    """The cron job of one installation: this Python runs the `task.py` of this folder.

    As a safety net, it runs beside another clock and only sends what that one has left.
    """

    python: Path
    folder: Path
    is_safety_net: bool = False

    @property
    def schedule(self) -> str:
        """The five fields that say when."""
        return EVERY_FIVE_MINUTES if self.is_safety_net else EVERY_MINUTE

    @property
    def command(self) -> str:
        """The command as the shell gets it from cron (in the crontab each % has a backslash more)."""
        words = [str(self.python), str(self.folder / "task.py")]
        ahead = "" if self.is_safety_net else " --ahead 60"
        return " ".join(_UNSAFE.sub(_quoted, word) for word in words) + ahead


def line_of(job: Job) -> str:
    """The line that runs `job`, checked by reading it back."""
    if "\n" in job.command:
        raise CronError("The path of this folder has a line break in it, which no crontab can hold.")
    item = _python_crontab().CronTab(tab="").new(command=job.command)
    item.setall(job.schedule)
    line = str(item.render())
    if len(os.fsencode(line)) - len(job.schedule + " ") > _LONGEST_COMMAND:
        raise CronError(f"The path of this folder is too long: cron takes commands of {_LONGEST_COMMAND} bytes.")
    if job_in(os.fsencode(line)) != job:
        raise CronError(f"This line would not be read as it was meant: {line}")
    return line


def block_of(job: Job) -> bytes:
    """All lines that `makecron.sh` puts into the crontab."""
    return BEGIN + os.fsencode(line_of(job)) + b"\n" + END


def job_in(block: bytes) -> Job | None:
    """The job that `block` holds, or None if it is empty or was changed by hand."""
    jobs = [item for item in _python_crontab().CronTab(tab=os.fsdecode(block)) if item.is_enabled()]
    if len(jobs) != 1 or jobs[0].slices.render() not in (EVERY_MINUTE, EVERY_FIVE_MINUTES):
        return None
    try:
        python, script = shlex.split(jobs[0].command)[:2]
    except ValueError:
        return None
    return Job(Path(python), Path(script).parent, jobs[0].slices.render() == EVERY_FIVE_MINUTES)


def _quoted(character: re.Match[str]) -> str:
    return r"'\'" if character[0] == "\\" else "\\" + character[0]


@functools.cache
def _python_crontab() -> ModuleType:
    """The module of python-crontab, whoever owns the name `crontab` (rq-scheduler needs another)."""
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
