"""Our own line of the crontab, which is written, checked and read with python-crontab.

python-crontab rewrites the lines that it reads, and even disables jobs that it does not understand. So it never sees
the user's other lines, which `crontab_file` handles.
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

# The limit of cron on Debian and the BSDs. cronie accepts more, but a crontab may move to another system.
_MAX_COMMAND_BYTES = 998

# Any shell that `SHELL=` may name takes a character after a backslash literally, and cron passes backslashes on, except
# the one before a %. Never write `\\`: Debian's cron turns two backslashes into one, others do not.
_UNSAFE = re.compile(r"[^A-Za-z0-9_@%+=:,./\u0080-\U0010ffff-]")


EVERY_MINUTE, EVERY_FIVE_MINUTES = "* * * * *", "*/5 * * * *"


class Job(NamedTuple):
    """The cron job of one installation: `python` runs the `task.py` in `folder`.

    As a safety net, it sends only what the other scheduler missed.
    """

    python: Path
    folder: Path
    is_safety_net: bool = False

    @property
    def schedule(self) -> str:
        """The five time fields of the crontab line."""
        return EVERY_FIVE_MINUTES if self.is_safety_net else EVERY_MINUTE

    @property
    def command(self) -> str:
        """The command as cron passes it to the shell (in the crontab, each % has another backslash)."""
        words = [str(self.python), str(self.folder / "task.py")]
        ahead = "" if self.is_safety_net else " --ahead 60"
        return " ".join(_UNSAFE.sub(_escape, word) for word in words) + ahead


def line_of(job: Job) -> str:
    """Return the crontab line that runs `job`, verified by reading it back. Raises CronError."""
    if "\n" in job.command:
        raise CronError("The path of this folder contains a line break, which is not possible in a crontab.")
    item = _python_crontab().CronTab(tab="").new(command=job.command)
    item.setall(job.schedule)
    line = str(item.render())
    if len(os.fsencode(line)) - len(job.schedule + " ") > _MAX_COMMAND_BYTES:
        raise CronError(f"The path of this folder is too long: cron allows commands of {_MAX_COMMAND_BYTES} bytes.")
    if job_in(os.fsencode(line)) != job:
        raise CronError(f"cron would misread this line: {line}")
    return line


def block_of(job: Job) -> bytes:
    """Return the whole block that `makecron.sh` puts into the crontab."""
    return BEGIN + os.fsencode(line_of(job)) + b"\n" + END


def job_in(block: bytes) -> Job | None:
    """Return the job in `block`, or None if the block is empty or was changed by hand."""
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
    """Load python-crontab from its file, because rq-scheduler installs another module named `crontab`."""
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
